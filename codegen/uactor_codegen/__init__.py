"""Generates ``.proto`` files, locks and typed Python clients of actors."""

from __future__ import annotations

from importlib.metadata import version

__version__ = version('uactor-grpc')
