"""The client side: a connection per actor, a session per thread."""
