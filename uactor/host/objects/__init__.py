"""The objects that an actor process has for others."""
