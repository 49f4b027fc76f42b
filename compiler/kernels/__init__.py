"""Host kernels: statistics of data in numpy and float64, computed once per data set."""
