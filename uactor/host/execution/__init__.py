"""Run the methods of an actor."""
