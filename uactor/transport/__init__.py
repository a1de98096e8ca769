"""How bytes get there: no values, no methods."""
