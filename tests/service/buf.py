"""Runs buf over files that the service room has printed."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.conftest import require_tool
from uactor.service.contract.proto_text import proto_text
from uactor.service.schema import Schema, schema_text

_CONFIG = """version: v2
lint:
  use: [STANDARD]
breaking:
  use: [WIRE_JSON]
"""


def write(schema: Schema, folder: Path) -> None:
    """Write the files of a schema, and what buf has to know, into ``folder``."""
    texts = {schema.file.name: schema_text(schema), 'buf.yaml': _CONFIG}
    for file in schema.dependencies:
        if not file.name.startswith('google/'):
            texts[file.name] = proto_text(file)
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def buf(*arguments: str, folder: Path) -> str:
    """Run buf and return all that it says."""
    command = [require_tool('buf'), *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr
