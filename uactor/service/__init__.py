"""An actor class as a typed gRPC service: annotations, schema, lock, and the ``.proto`` file.

A class goes through three stages. :mod:`~uactor.service.mapping.members` and
:mod:`~uactor.service.mapping.annotations` plan its messages out of *shapes*;
:mod:`~uactor.service.contract.numbering` settles names and numbers by the lock;
:mod:`~uactor.service.contract.descriptors` writes descriptors. A method of the schema then reads
requests and writes responses through the shapes. Nothing here knows gRPC, or unpickles anything.
"""
