"""What Python, the operating system and gRPC need to be told."""
