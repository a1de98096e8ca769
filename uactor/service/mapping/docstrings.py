"""Reads the descriptions of parameters and fields in docstrings."""

from __future__ import annotations

import re

_ROLE = re.compile(r':(?:param|ivar|cvar|var)\s+(?:[^:]*\s)?\*{0,2}(\w+):\s*(.*)')
_SECTION = re.compile(r'(?:Args|Arguments|Attributes|Parameters):\s*')
_ENTRY = re.compile(r'\*{0,2}(\w+)(?:\s*\([^)]*\))?:\s*(.*)')


def parse_fields(doc: str) -> dict[str, str]:
    """Return the descriptions of parameters and fields by name.

    The docstring may have the style of Sphinx, or that of Google.
    """
    lines = doc.splitlines()
    return _parse_roles(lines) | _parse_section(lines)


def _parse_roles(lines: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    name = None
    for line in lines:
        text = line.strip()
        match = _ROLE.match(text)
        if match:
            name, found[match[1]] = match[1], match[2]
        elif name and line[:1].isspace() and text:
            found[name] = f'{found[name]}\n{text}'.strip()
        else:
            name = None
    return found


def _parse_section(lines: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    in_section, indent, name = False, 0, ''
    for line in lines:
        text, depth = line.strip(), len(line) - len(line.lstrip())
        if not in_section:
            in_section, indent = bool(_SECTION.fullmatch(line)), 0
            continue
        if text and depth == 0:
            in_section = bool(_SECTION.fullmatch(line))
            continue
        indent = indent or depth
        match = _ENTRY.fullmatch(text) if depth == indent else None
        if match:
            name, found[match[1]] = match[1], match[2]
        elif name and text:
            found[name] = f'{found[name]}\n{text}'.strip()
    return found
