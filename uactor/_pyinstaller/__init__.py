"""What PyInstaller needs to know of uactor. It finds this by an entry point."""

from __future__ import annotations

import os


def hook_directories() -> list[str]:
    """Return where the hooks are; see PyInstaller's manual, "Providing PyInstaller hooks"."""
    return [os.path.dirname(__file__)]
