"""Compiled models in files: what is written, and what is made of it where neither source nor NumPyro is."""
