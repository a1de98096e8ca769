"""The actor process: objects, dispatcher, sessions, the gRPC door, lifecycle."""
