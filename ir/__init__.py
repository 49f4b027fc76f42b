"""The typed graph that every stage works on. It knows neither tracing nor jit."""
