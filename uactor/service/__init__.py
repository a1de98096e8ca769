"""An actor class as a typed gRPC service: annotations, schema, lock, and the ``.proto`` file.

A class goes through three stages. :mod:`~uactor.service.members` and
:mod:`~uactor.service.annotations` plan its messages out of *shapes*;
:mod:`~uactor.service.numbering` settles names and numbers by the lock;
:mod:`~uactor.service.descriptors` writes descriptors. A method of the schema then reads requests
and writes responses through the shapes. Nothing here knows gRPC, or ever unpickles anything.
"""
