"""Does the work with one peer, as it is told on standard input; one process for each peer.

    python -m benchmarks.driver PEER

Each line that it reads is ``WORKLOAD COUNT``, and each that it prints is JSON: what that took, or
null where the peer can't do it. The first line that it prints says that it is ready.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import sys
from typing import Any


@dataclasses.dataclass
class Point:
    """A class of ``__main__``, as users of scripts and notebooks have them."""

    x: int
    y: int

    def __len__(self) -> int:
        return 2


def main() -> None:
    # What the peer prints is not for who started this.
    answers = os.fdopen(os.dup(1), 'w', buffering=1)
    os.dup2(2, 1)
    from benchmarks.workloads import WORKLOADS

    with importlib.import_module(f'benchmarks.peers.{sys.argv[1]}').Peer() as peer:
        print(json.dumps('ready'), file=answers)
        for line in sys.stdin:
            key, count = line.split()
            print(json.dumps(measured(WORKLOADS[key].run, peer, int(count))), file=answers)


def measured(run: Any, peer: Any, count: int) -> float | None:
    try:
        return float(run(peer, count))
    except (AttributeError, NotImplementedError) as error:
        print(f'{sys.argv[1]}: {error}', file=sys.stderr)
        return None


if __name__ == '__main__':
    main()
