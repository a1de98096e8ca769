"""The error that stops the generator."""

from __future__ import annotations


class CodegenError(Exception):
    """A file can't be generated. The message says why, and what helps."""
