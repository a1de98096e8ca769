"""Loading gRPC, late and without its messages on standard error."""

from __future__ import annotations

import importlib
import os
import sys
import threading
from types import ModuleType

_VERBOSITY = 'GRPC_VERBOSITY'

# Python 3.10 has been seen to give a second thread the module half imported.
_loading = threading.Lock()


def load_grpc() -> ModuleType:
    """Import gRPC and return it; what the user says in ``GRPC_VERBOSITY`` holds."""
    with _loading:
        if 'grpc' in sys.modules or _VERBOSITY in os.environ:
            import grpc

            return grpc
        os.environ[_VERBOSITY] = 'ERROR'
        try:
            import grpc
        finally:
            del os.environ[_VERBOSITY]  # not for this process's children
        return grpc


def load_grpc_server() -> None:
    """Import also what gRPC imports when a server is made."""
    load_grpc()
    for name in ('grpc._interceptor', 'grpc._server'):
        importlib.import_module(name)


def copy_environment() -> dict[bytes, bytes]:
    """Return the environment of this process, without what is there while gRPC is loaded."""
    with _loading:
        return dict(os.environb)
