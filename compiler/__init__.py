"""From a model function to functions of its density: trace, passes, lower."""
