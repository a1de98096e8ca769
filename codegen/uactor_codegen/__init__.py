"""Writes down what typed services of actors are: ``.proto``, lock, and typed Python clients."""

from __future__ import annotations

from importlib.metadata import version

__version__ = version('uactor-grpc')
