"""The runtime of generated clients: this package's, and what it uses of uactor, as they are.

Only imports are changed, into those of one package. So clients write and read values by the same
code as the actor does.
"""

from __future__ import annotations

import re
from importlib import resources
from pathlib import PurePath

_SERVICE = (
    *('arrays', 'containers', 'enums', 'errors', 'items', 'json_items', 'methods', 'naming'),
    *('plan', 'records', 'slots', 'wellknown'),
)
_OWN = ('__init__', 'aio', 'client', 'failures', 'root', 'schema')
_HEADER = '# Copied by uactor-codegen; do not edit.\n# pyright: standard\n'


def runtime_texts() -> dict[str, str]:
    """Return the texts of the runtime's modules by the names of their files."""
    sources = {name: ('uactor.service', name) for name in _SERVICE}
    sources |= {name: ('uactor_codegen.runtime', name) for name in _OWN}
    return {
        str(PurePath(f'{name}.py')): _HEADER + relocated(_source(package, module))
        for name, (package, module) in sources.items()
    }


def _source(package: str, module: str) -> str:
    return resources.files(package).joinpath(f'{module}.py').read_text(encoding='utf-8')


def relocated(source: str) -> str:
    """Return the source of a module with its imports as those of the runtime."""
    source = re.sub(r'^(\s*)from uactor\.errors import', r'\1from .root import', source, flags=re.M)
    return re.sub(
        r'^(\s*)from uactor(?:\.service|_codegen\.runtime)\.(\w+) import',
        r'\1from .\2 import',
        source,
        flags=re.M,
    )
