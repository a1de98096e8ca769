"""The contract of a typed service: numbers, lock file, descriptors, ``.proto`` text."""
