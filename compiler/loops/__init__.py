"""Loops over plates: the body is traced at two steps and becomes one node for all of them."""
