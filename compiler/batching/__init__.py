"""One node for all members of a family: a new leading axis for sites and code."""
