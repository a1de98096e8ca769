"""Work around what Python, the operating system and gRPC do."""
