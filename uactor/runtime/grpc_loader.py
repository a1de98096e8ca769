"""Load gRPC late, and without its messages on standard error."""

from __future__ import annotations

import importlib
import os
import sys
import threading
from types import ModuleType

_VERBOSITY = 'GRPC_VERBOSITY'

# Python 3.10 was seen to give a second thread the half-imported module.
_loading = threading.Lock()


def load_grpc() -> ModuleType:
    """Import gRPC quietly and return it, unless the user set ``GRPC_VERBOSITY``."""
    with _loading:
        if 'grpc' in sys.modules or _VERBOSITY in os.environ:
            import grpc

            return grpc
        os.environ[_VERBOSITY] = 'ERROR'
        try:
            import grpc
        finally:
            del os.environ[_VERBOSITY]  # this process's children must not inherit it
        return grpc


def load_grpc_server() -> None:
    """Import gRPC, and the modules that it imports to create a server."""
    load_grpc()
    for name in ('grpc._interceptor', 'grpc._server'):
        importlib.import_module(name)


def copy_environment() -> dict[bytes, bytes]:
    """Copy this process's environment, without the variable that quiets gRPC."""
    with _loading:
        return dict(os.environb)
