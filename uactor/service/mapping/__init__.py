"""Reading a class: which service its annotations declare."""
