"""Copies the runtime of generated clients.

The runtime is that of this package, and the codecs of uactor. Only their imports change, so that
all modules are in one package. Clients thus convert values with the same code as the actor.
"""

from __future__ import annotations

import re
from importlib import resources
from pathlib import PurePath

_FOLDERS = {'uactor_codegen.runtime': '', 'uactor.service.codecs': 'codecs'}
"""Packages that are copied as a whole, and their folders in the runtime."""
_MODULES = {
    'uactor.service': ('errors', 'model', 'naming'),
}
"""Modules that these packages import, for the top folder of the runtime."""
_HEADER = '# Copied by uactor-codegen; do not edit.\n# pyright: standard\n'


def runtime_texts() -> dict[str, str]:
    """Return the texts of the runtime's modules by path."""
    sources = {
        PurePath(folder, name): (package, name)
        for package, folder in _FOLDERS.items()
        for name in _list_modules(package)
    }
    for package, modules in _MODULES.items():
        sources.update({PurePath(f'{name}.py'): (package, f'{name}.py') for name in modules})
    return {
        str(path): _HEADER + relocate(_read_source(package, name), depth=len(path.parts))
        for path, (package, name) in sources.items()
    }


def _list_modules(package: str) -> list[str]:
    files = resources.files(package).iterdir()
    return sorted(file.name for file in files if file.name.endswith('.py'))


def _read_source(package: str, name: str) -> str:
    return resources.files(package).joinpath(name).read_text(encoding='utf-8')


def relocate(source: str, depth: int) -> str:
    """Return a module's source, with its imports relative to the runtime.

    :param depth: how many folders the package of the runtime is above the module.
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
