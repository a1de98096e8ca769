"""The runtime of generated clients: this package's, and what it uses of uactor, as they are.

Only imports are changed, into those of one package. So clients write and read values by the same
code as the actor does.
"""

from __future__ import annotations

import re
from importlib import resources
from pathlib import PurePath

_FOLDERS = {'uactor_codegen.runtime': '', 'uactor.service.codecs': 'codecs'}
"""Packages that are copied whole, and their folders in the runtime."""
_MODULES = {
    'uactor.service': ('errors', 'model', 'naming'),
}
"""What they need beside themselves, for the runtime's own folder."""
_HEADER = '# Copied by uactor-codegen; do not edit.\n# pyright: standard\n'


def runtime_texts() -> dict[str, str]:
    """Return the texts of the runtime's modules by the paths of their files."""
    sources = {
        PurePath(folder, name): (package, name)
        for package, folder in _FOLDERS.items()
        for name in _modules_of(package)
    }
    for package, modules in _MODULES.items():
        sources.update({PurePath(f'{name}.py'): (package, f'{name}.py') for name in modules})
    return {
        str(path): _HEADER + relocate(_source(package, name), depth=len(path.parts))
        for path, (package, name) in sources.items()
    }


def _modules_of(package: str) -> list[str]:
    files = resources.files(package).iterdir()
    return sorted(file.name for file in files if file.name.endswith('.py'))


def _source(package: str, name: str) -> str:
    return resources.files(package).joinpath(name).read_text(encoding='utf-8')


def relocate(source: str, depth: int) -> str:
    """Return the source of a module with its imports as those of the runtime.

    :param depth: how many folders up from the module the package of the runtime is.
    """
    root = '.' * depth
    for pattern, place in (
        (r'uactor\.errors', f'{root}root'),
        (r'uactor\.service\.([\w.]+)', rf'{root}\2'),
        (r'uactor_codegen\.runtime\.(\w+)', rf'{root}\2'),
    ):
        source = re.sub(
            rf'^(\s*)from {pattern} import', rf'\1from {place} import', source, flags=re.M
        )
    return source
