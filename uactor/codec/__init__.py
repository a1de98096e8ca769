"""How values and failures become messages."""
