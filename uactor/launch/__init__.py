"""How an actor process comes to be, and how it ends."""
