"""The systems that are compared, one module each; see :mod:`benchmarks.peer`."""
