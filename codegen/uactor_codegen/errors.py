"""What stops the generator, said in one line."""

from __future__ import annotations


class CodegenError(Exception):
    """What was asked for can't be generated; the text says why, and what helps."""
