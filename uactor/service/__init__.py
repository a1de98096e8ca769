"""How an actor class becomes a typed gRPC service.

A class goes through three stages:

1. :mod:`~uactor.service.mapping` reads its annotations and plans methods, messages and enums.
   Each part of a message gets the codec that converts its values.
2. :mod:`~uactor.service.contract.numbering` assigns names and numbers, which the lock keeps.
3. :mod:`~uactor.service.contract.descriptors` writes the descriptors of Protobuf.

A method of the schema then reads requests and writes responses with its codecs. Nothing here
knows gRPC, and nothing here unpickles.
"""
