"""The sessions of clients, whatever they come by."""
