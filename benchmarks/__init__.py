"""Benchmarks: uactor and its peers at the same work, in one run; see :mod:`benchmarks.run`."""
