"""The objects that an actor process shares with others."""
