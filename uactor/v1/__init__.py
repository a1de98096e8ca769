"""Generated from proto/uactor/v1: the wire contract as Python modules."""
