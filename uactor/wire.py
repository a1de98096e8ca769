"""gRPC, loaded when it is needed.

Importing it takes some 70 ms and 15 MiB, which only those shall pay who connect.
And it writes notes for its own developers to standard error, about forks and
closed connections, unless it is told at that moment to keep to errors.
"""

from __future__ import annotations

import os
import sys
from types import ModuleType

_VERBOSITY = 'GRPC_VERBOSITY'


def load_grpc() -> ModuleType:
    """Import gRPC and return it; what the user says in ``GRPC_VERBOSITY`` holds."""
    if 'grpc' in sys.modules or _VERBOSITY in os.environ:
        import grpc

        return grpc
    os.environ[_VERBOSITY] = 'ERROR'
    try:
        import grpc
    finally:
        del os.environ[_VERBOSITY]  # not for this process's children
    return grpc
