"""The files that are written, and their texts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from uactor.service.proto_text import proto_text, schema_text
from uactor.service.schema import Schema
from uactor_codegen.errors import CodegenError
from uactor_codegen.modules import ActorModule

Texts = Mapping[Path, str]
"""Texts of files, by their paths."""


def outputs(modules: Iterable[ActorModule], folder: Path) -> Texts:
    """Return all that is generated, by where it belongs.

    :raises CodegenError: when two modules would have the same file.
    """
    texts: dict[Path, str] = {}
    for module in modules:
        for name, text in _protos(module).items():
            path = folder / name
            if texts.setdefault(path, text) != text:
                raise CodegenError(f'{module.name} and another module both make {name}')
        texts[module.lock_path] = module.lock.dump()
    return dict(sorted(texts.items()))


def _protos(module: ActorModule) -> dict[str, str]:
    """Return the ``.proto`` files of a module, and those that they import, but Google's."""
    files: dict[str, list[Schema]] = {}
    for schema in module.schemas:
        files.setdefault(schema.file.name, []).append(schema)
    texts = {name: schema_text(*schemas) for name, schemas in files.items()}
    for schema in module.schemas:
        for file in schema.dependencies:
            if not file.name.startswith('google/'):
                texts[file.name] = proto_text(file)
    return texts


def stale(texts: Texts) -> list[Path]:
    """Return the files that are not, or not as they should be."""
    return [path for path, text in texts.items() if _read(path) != text]


def write(texts: Texts) -> list[Path]:
    """Write the files that are stale, and return them."""
    changed = stale(texts)
    for path in changed:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(texts[path], encoding='utf-8', newline='\n')
    return changed


def _read(path: Path) -> str | None:
    return path.read_bytes().decode('utf-8', 'replace') if path.is_file() else None
