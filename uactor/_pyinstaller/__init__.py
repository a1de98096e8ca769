"""What PyInstaller needs to know of uactor.

PyInstaller finds this package by an entry point.
"""

from __future__ import annotations

from pathlib import Path


def hook_directories() -> list[str]:
    """Return where the hooks are; see PyInstaller's manual, "Providing PyInstaller hooks"."""
    return [str(Path(__file__).parent)]
