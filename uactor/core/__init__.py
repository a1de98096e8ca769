"""Define the terms that all layers share."""
