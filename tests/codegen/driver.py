"""Makes calls with generated clients where there is neither uactor nor the actor's source.

``python -I driver.py FOLDER MODULE SCRIPT ADDRESS KEY [CALLS]``. The script has the module of the
clients, and the package around it.
"""

from __future__ import annotations

import importlib
import runpy
import sys


class Refusing:
    """Refuses imports that generated clients must do without."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.partition('.')[0] in ('uactor', 'uactor_codegen', 'tests', 'google.rpc'):
            raise ImportError(f'{name} is not for generated clients')


def main() -> None:
    folder, module, script, address, key = sys.argv[1:6]
    sys.meta_path.insert(0, Refusing())
    sys.path.insert(0, folder)
    clients = importlib.import_module(module)
    authkey = bytes.fromhex(key) or None
    runpy.run_path(
        script,
        {
            'calls': sys.argv[6] if len(sys.argv) > 6 else '',
            'clients': clients,
            'package': importlib.import_module(module.partition('.')[0]),
            'address': address,
            'authkey': authkey,
        },
    )


main()
