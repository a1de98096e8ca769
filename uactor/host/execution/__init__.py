"""What runs the methods of an actor."""
