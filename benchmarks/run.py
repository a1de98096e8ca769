"""Measures uactor and its peers at the same work, in one run, and prints ratios.

    python -m benchmarks.run [--only NAME ...] [--peers NAME ...] [--rounds N] [--output DIR]

With ``--plot`` it draws what it has measured, too.

Each peer runs in a process of its own, in the environment that ``--python PEER=PATH`` names. They
take turns within each workload, so that whatever else the machine does meets all of them; the
median of their rounds counts. Absolute times are of one machine on one day: look at the ratios.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.workloads import WORKLOADS

ROOT = Path(__file__).parent.parent
PEERS = {
    'uactor_lane': 'uactor',
    'uactor_grpc': 'uactor, gRPC',
    'uactor_0_1_1': 'uActor 0.1.1',
    'pyro5': 'Pyro5',
    'rpyc': 'RPyC',
    'xoscar': 'xoscar',
    'ray': 'Ray',
    'grpcio': 'grpcio',
}
BASIS = 'uactor_lane'
ROUND_SECONDS = 0.15

Results = dict[str, dict[str, float]]
"""Medians by workload and peer, for doing it once."""


class Driver:
    """A peer at work in its own process."""

    def __init__(self, peer: str, python: str, folder: Path, log: int) -> None:
        self.peer = peer
        self._process = subprocess.Popen(
            [python, '-m', 'benchmarks.driver', peer],
            cwd=folder,
            env={**os.environ, 'PYTHONPATH': str(folder)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            bufsize=1,
        )
        self._answer()

    def _answer(self) -> float | str | None:
        line = next(iter(self._process.stdout or ()), '')
        if not line:
            raise SystemExit(f'{self.peer} has failed; see peers.log')
        found: float | str | None = json.loads(line)
        return found

    def measure(self, key: str, count: int) -> float | None:
        """Return what it takes to do something ``count`` times, or None if it can't."""
        print(key, count, file=self._process.stdin)
        found = self._answer()
        return float(found) if found is not None else None

    def close(self) -> None:
        self._process.communicate()


def main(argv: Sequence[str] | None = None) -> None:
    options = parsed(argv)
    pythons = dict(entry.split('=', 1) for entry in options.python)
    options.output.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        log = stack.enter_context((options.output / 'peers.log').open('w'))
        # Not the checkout, whose uactor would stand in the way of uActor.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / 'benchmarks').symlink_to(ROOT / 'benchmarks')
        drivers = []
        for peer in options.peers:
            drivers.append(Driver(peer, pythons.get(peer, sys.executable), folder, log.fileno()))
            stack.callback(drivers[-1].close)
        results: Results = {}
        table = [header(options.peers)]
        print(table[0], flush=True)
        for key in options.only:
            results[key] = medians(drivers, key, options.rounds)
            table.append(line(key, results[key], options.peers))
            print(table[-1], flush=True)
    (options.output / 'table.txt').write_text('\n'.join(table) + '\n')
    report = {'python': platform.python_version(), 'cores': os.cpu_count(), 'results': results}
    (options.output / 'results.json').write_text(json.dumps(report, indent=2) + '\n')
    if options.plot:
        from benchmarks import plot  # needs matplotlib, as measuring does not

        plot.draw(options.output)


def parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Compare uactor with its peers, in one run.')
    parser.add_argument('--only', nargs='+', choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument('--peers', nargs='+', choices=PEERS, default=list(PEERS))
    parser.add_argument('--python', action='append', default=[], metavar='PEER=PATH')
    parser.add_argument('--rounds', type=int, default=7)
    parser.add_argument('--plot', action='store_true', help='draw it, too')
    parser.add_argument('--output', type=Path, default=ROOT / 'benchmarks' / 'results')
    return parser.parse_args(argv)


def header(peers: Sequence[str]) -> str:
    """Return the first row of the table."""
    return ' '.join([' ' * 38, *(f'{PEERS[peer]:>13}' for peer in peers)])


def medians(drivers: Sequence[Driver], key: str, rounds: int) -> dict[str, float]:
    """Return what each peer takes to do something once, in the median of interleaved rounds."""
    counts = dict(calibrated(drivers, key))
    taken: dict[str, list[float]] = {peer: [] for peer in counts}
    for _ in range(rounds):
        for driver in drivers:
            count = counts.get(driver.peer)
            if count is not None:
                found = driver.measure(key, count)
                if found is not None:
                    taken[driver.peer].append(found / count)
    return {peer: statistics.median(found) for peer, found in taken.items() if found}


def calibrated(drivers: Sequence[Driver], key: str) -> Iterator[tuple[str, int]]:
    """Yield how often each peer does something in a round; those that can't are left out.

    The first time does not count: it may import modules, which would leave few times for a round.
    """
    workload = WORKLOADS[key]
    for driver in drivers:
        if workload.unit == 's':
            driver.measure(key, 1)
        count = 1
        while (found := driver.measure(key, count)) is not None:
            if workload.unit != 's' or found > ROUND_SECONDS / 4 or count >= workload.most:
                scale = ROUND_SECONDS / found if workload.unit == 's' and found else workload.most
                yield driver.peer, max(1, min(workload.most, int(count * scale)))
                break
            count = min(workload.most, count * 8)


def line(key: str, results: dict[str, float], peers: Sequence[str]) -> str:
    """Return a row of the table: what each takes, in units of what uactor does."""
    basis = results.get(BASIS)
    cells = [f'{WORKLOADS[key].name:38}']
    for peer in peers:
        found = results.get(peer)
        if found is None:
            cells.append(f'{"-":>13}')
        elif peer == BASIS or not basis:
            cells.append(f'{shown(found, WORKLOADS[key].unit):>13}')
        else:
            cells.append(f'{found / basis:>12.2f}x')
    return ' '.join(cells)


def shown(value: float, unit: str) -> str:
    if unit != 's':
        return f'{value:.3g} {unit}'
    for factor, name in ((1, 's'), (1e3, 'ms'), (1e6, 'µs')):
        if value * factor >= 1 or name == 'µs':
            return f'{value * factor:.3g} {name}'
    raise AssertionError


if __name__ == '__main__':
    main()
