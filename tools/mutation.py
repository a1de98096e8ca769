"""Checks that the tests of pure modules notice small faults, by cosmic-ray.

    python tools/mutation.py [--floor PERCENT] [MODULE ...]

Each module is copied with its tests to a folder of its own, where cosmic-ray plants one fault after
the other: another operator, another number, a negated condition. A number outside functions stays:
a test could only repeat it. A fault counts as noticed if a test fails.

Faults that nobody noticed are listed. The exit status is 1 if a smaller share than the floor is
noticed.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cosmic_ray.work_db import use_db
from cosmic_ray.work_item import WorkerOutcome, WorkResult

ROOT = Path(__file__).parent.parent
WORK = ROOT / 'build' / 'mutation'
TIMEOUT_S = 20

TESTS = {
    'uactor/client/link_state.py': 'tests/client/test_link_state.py',
    'uactor/transport/spin.py': 'tests/transport/test_spin.py',
    'uactor/transport/hpack.py': 'tests/transport/test_hpack.py',
    'uactor/transport/http2_frames.py': 'tests/transport/test_http2_frames.py',
    'uactor/transport/http2_stream.py': 'tests/transport/test_http2_stream.py',
    'uactor/service/naming.py': 'tests/service/test_naming.py',
    'uactor/service/contract/numbering.py': (
        'tests/service/test_numbering.py tests/service/test_lock.py'
    ),
}
"""Pure modules, each with the tests that alone have to notice its faults."""

PLANTED = (
    *('Add_Sub', 'Sub_Add', 'Mul_Add', 'FloorDiv_Mul', 'Mod_Mul'),
    *('BitAnd_BitOr', 'BitXor_BitOr', 'LShift_RShift', 'RShift_LShift'),
    *('Eq_NotEq', 'NotEq_Eq', 'Is_IsNot', 'IsNot_Is'),
    *('Lt_LtE', 'Lt_GtE', 'LtE_Lt', 'LtE_Gt', 'Gt_GtE', 'Gt_LtE', 'GtE_Gt', 'GtE_Lt'),
)
"""Replacements of operators. The others would show no more.

None is of ``|``, which stands in annotations mostly: those are never evaluated.
"""

LEFT_OUT = re.compile(
    rf'core/Replace(Binary|Comparison)Operator_(?!({"|".join(PLANTED)})$)|core/RemoveDecorator'
)


def main() -> int:
    parser = argparse.ArgumentParser(description='Check that tests notice small faults.')
    parser.add_argument('modules', nargs='*', metavar='MODULE', default=list(TESTS))
    parser.add_argument('--floor', type=float, default=0.0, help='in percent')
    options = parser.parse_args()
    shutil.rmtree(WORK, ignore_errors=True)
    noticed = planted = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(plant_faults, options.modules)
        for module, faults in zip(options.modules, results, strict=True):
            unnoticed = [fault for fault in faults if not fault.startswith('noticed')]
            planted += len(faults)
            noticed += len(faults) - len(unnoticed)
            print(f'{module}: {len(faults) - len(unnoticed)} of {len(faults)} noticed', flush=True)
            for fault in unnoticed:
                print(f'    {fault}')
    share = 100 * noticed / planted
    print(f'{share:.1f} % of {planted} faults were noticed; at least {options.floor} % have to be.')
    return int(share < options.floor)


def plant_faults(module: str) -> list[str]:
    """Return what became of each fault in a module."""
    folder = WORK / Path(module).stem
    folder.mkdir(parents=True)
    for name in ('uactor', 'tests'):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns('__pycache__'))
    shutil.copy(ROOT / 'pyproject.toml', folder)
    # Before the installed package, Python finds the one in the current folder.
    command = f'{sys.executable} -m pytest -x -q -p no:cacheprovider -p no:xdist {TESTS[module]}'
    config = (
        f'[cosmic-ray]\nmodule-path = "{module}"\ntimeout = {TIMEOUT_S}\nexcluded-modules = []\n'
        f'test-command = "{command}"\n[cosmic-ray.distributor]\nname = "local"\n'
    )
    (folder / 'config.toml').write_text(config)
    run(folder, 'cosmic-ray', 'baseline', 'config.toml')
    run(folder, 'cosmic-ray', 'init', 'config.toml', 'session.sqlite')
    leave_out(folder / 'session.sqlite')
    run(folder, 'cosmic-ray', 'exec', 'config.toml', 'session.sqlite')
    dump = run(folder, 'cosmic-ray', 'dump', 'session.sqlite')
    return list(read_outcomes(dump))


def leave_out(session: Path) -> None:
    """Have cosmic-ray skip the faults that would show nothing."""
    with use_db(str(session)) as database:
        for item in database.pending_work_items:
            (mutation,) = item.mutations
            if LEFT_OUT.match(mutation.operator_name) or (
                mutation.operator_name == 'core/NumberReplacer'
                and not is_function(mutation.definition_name)
            ):
                skipped = WorkResult(worker_outcome=WorkerOutcome.SKIPPED)
                database.set_result(item.job_id, skipped)


def is_function(name: str | None) -> bool:
    """Return whether a name is that of a function, by its case, neither a class nor None."""
    return name is not None and name.lstrip('_')[:1].islower()


def run(folder: Path, program: str, *words: str) -> str:
    """Run a program of cosmic-ray, which has to succeed."""
    path = Path(sys.executable).parent / program
    done = subprocess.run([path, *words], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f'{program} {" ".join(words)} has failed:\n{done.stdout}{done.stderr}')
    return done.stdout


def read_outcomes(dump: str) -> Iterator[str]:
    """Yield 'noticed', or where a fault is that was not, and what it is."""
    for line in dump.splitlines():
        item, result = json.loads(line)
        if result['worker_outcome'] == 'skipped':  # left out
            continue
        yield 'noticed' if result['test_outcome'] == 'killed' else describe(item, result)


def describe(item: dict[str, Any], result: dict[str, Any]) -> str:
    """Describe a fault in one line."""
    (mutation,) = item['mutations']
    changed = re.findall(r'^\+(?!\+\+)\s*(.*)', result['diff'] or '', re.MULTILINE)
    place = f'{mutation["module_path"]}:{mutation["start_pos"][0]}'
    return f'{place}: {" ".join(changed)} ({mutation["operator_name"].removeprefix("core/")})'


if __name__ == '__main__':
    sys.exit(main())
