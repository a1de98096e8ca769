"""Generates clients of an actor and calls it with them, in a folder of its own."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent


def show(*command: str, shown: str = '') -> None:
    print('$', shown or ' '.join(command), flush=True)
    done = subprocess.run(
        [sys.executable, *command[1:]],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    print(done.stdout, end='', flush=True)


def codegen(*arguments: str) -> None:
    show(
        'python', '-m', 'uactor_codegen', *arguments, shown=f'uactor-codegen {" ".join(arguments)}'
    )


def main() -> None:
    codegen('library:Library', '-o', 'clients')
    sys.path.insert(0, str(Path.cwd()))
    from library import Library

    with Library() as actor:
        key = bytes(multiprocessing.current_process().authkey).hex()
        address = str(actor.connection_address)
        show('python', 'borrow.py', address, key, shown='python borrow.py ADDRESS AUTHKEY')
    source = Path('library.py')
    source.write_text(source.read_text().replace('weeks: int = 4', 'weeks: int'))
    shutil.copy('library.actors.lock.json', 'released.json')
    codegen('library:Library', '-o', 'clients', '--check')
    codegen('library:Library', '-o', 'clients', '--against', 'released.json')


if __name__ == '__main__':
    with tempfile.TemporaryDirectory() as folder:
        for name in ('library.py', 'borrow.py'):
            shutil.copy(HERE / name, folder)
        os.chdir(folder)
        main()
        os.chdir(HERE)
