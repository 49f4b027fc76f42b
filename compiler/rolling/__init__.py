"""Families: what an ordinary Python loop made, found in the graph and held as one."""
