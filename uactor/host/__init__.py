"""The actor process: objects, dispatcher, sessions, the gRPC door, lifecycle."""

from uactor.runtime.grpc_loader import load_grpc

load_grpc()  # before any module here does
