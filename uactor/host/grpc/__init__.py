"""The gRPC server of an actor process."""
