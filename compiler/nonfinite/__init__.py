"""Why a log density is not finite at a point: the first site to blame, the element, and where it began."""
