"""What stands for an object that lives in an actor process."""
