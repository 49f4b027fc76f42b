"""Inverse CDFs: from points of the unit cube to values of NumPyro's distributions, exact in both tails."""
