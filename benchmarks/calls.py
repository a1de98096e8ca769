"""What a blocking call costs, as ratios to peers in the same run.

    python benchmarks/calls.py [ROUNDS]

Each peer of peers.py has a process of its own. Rounds of all of them are interleaved, and medians
compared. Those that are not installed in ``.venv-bench`` (``make bench`` does it) are left out.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
PYTHONS = {  # by peer; others have the one that runs this
    'uActor 0.1.1': '.venv-bench/bin/python',
    'Pyro5': '.venv-bench/bin/python',
    'RPyC': '.venv-bench/bin/python',
}
NAMES = ('uactor, lane', 'uactor, gRPC session', 'plain grpcio, unary', *PYTHONS)
CALLS = 500


class Peer:
    def __init__(self, name: str) -> None:
        python = PYTHONS.get(name)
        self.process = subprocess.Popen(
            [HERE.parent / python if python else sys.executable, HERE / 'peers.py', name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.times: list[float] = []

    def measure(self) -> None:
        """Make a round of calls, and note how long one took, in microseconds."""
        print(CALLS, file=self.process.stdin, flush=True)
        self.times.append(float(self.process.stdout.readline()) / CALLS * 1e6)

    def end(self) -> None:
        self.process.communicate()


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 25
    names = [name for name in NAMES if os.path.exists(HERE.parent / PYTHONS.get(name, '.'))]
    peers = {name: Peer(name) for name in names}
    for peer in peers.values():
        peer.measure()
        peer.times.clear()  # of the warm-up
    for _ in range(rounds):
        for peer in peers.values():
            peer.measure()
    for peer in peers.values():
        peer.end()
    medians = {name: statistics.median(peer.times) for name, peer in peers.items()}
    lane = medians['uactor, lane']
    for name, peer in peers.items():
        median, best = medians[name], min(peer.times)
        ratio = median / lane
        print(f'{name:21} {median:5.0f} µs a call, {best:4.0f} at best {ratio:6.2f} times the lane')


if __name__ == '__main__':
    main()
