"""Draws what :mod:`benchmarks.run` has measured: ratios to uactor, and cost against size.

    python -m benchmarks.plot [FOLDER]

Reads ``results.json`` in the folder, and writes ``ratios.svg`` and ``sizes.svg`` beside it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt

from benchmarks.run import BASIS, PEERS, ROOT
from benchmarks.workloads import SIZES, WORKLOADS

Results = dict[str, dict[str, float]]

COLOURS = dict(zip(PEERS, plt.get_cmap('tab10').colors, strict=False))
WIDTH = 9.0
ROW = 0.16


def main() -> None:
    draw(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / 'benchmarks' / 'results')


def draw(folder: Path) -> None:
    """Draw what has been measured into ``folder``."""
    # The same file for the same figures.
    matplotlib.rcParams.update({'svg.hashsalt': 'uactor', 'font.size': 9})
    results: Results = json.loads((folder / 'results.json').read_text())['results']
    save(ratios(results), folder / 'ratios.svg')
    if any(f'argument-{label}' in results for label in SIZES):
        save(sizes(results), folder / 'sizes.svg')


def save(figure: Any, path: Path) -> None:
    figure.savefig(path, metadata={'Date': None}, bbox_inches='tight')
    plt.close(figure)


def ratios(results: Results) -> Any:
    """Return a figure of how many times as much as uactor each peer takes."""
    # What takes uactor nothing has no ratios.
    keys = [key for key in results if results[key].get(BASIS) and len(results[key]) > 1]
    rows = sum(len(results[key]) for key in keys)
    figure, axes = plt.subplots(figsize=(WIDTH, 1 + ROW * (rows + len(keys))))
    position, ticks, seen = 0.0, [], set()
    for key in keys:
        begin = position
        for peer in (peer for peer in PEERS if peer != BASIS and peer in results[key]):
            ratio = results[key][peer] / results[key][BASIS]
            label = None if peer in seen else PEERS[peer]
            axes.barh(position, ratio, color=COLOURS[peer], label=label)
            seen.add(peer)
            position += 1
        ticks.append(((begin + position - 1) / 2, WORKLOADS[key].name))
        position += 1
    axes.set_xscale('log')
    axes.axvline(1, color='black', linewidth=0.8)
    axes.set_yticks([tick for tick, _ in ticks], [name for _, name in ticks])
    axes.invert_yaxis()
    axes.set_xlabel('times as much as uactor takes (to the right of 1: uactor takes less)')
    axes.legend(loc='upper center', bbox_to_anchor=(0.5, 1.06), ncols=7, frameon=False)
    return figure


def sizes(results: Results) -> Any:
    """Return a figure of what arrays cost by their size, as arguments and as results."""
    figure, both = plt.subplots(1, 2, figsize=(WIDTH, 4), sharey=True)
    for axes, direction in zip(both, ('argument', 'result'), strict=True):
        for peer, name in PEERS.items():
            points = [
                (size, found[peer] * 1e3)
                for label, size in SIZES.items()
                if peer in (found := results.get(f'{direction}-{label}', {}))
            ]
            if points:
                axes.plot(*zip(*points, strict=True), 'o-', color=COLOURS[peer], label=name)
        axes.set(xscale='log', yscale='log', xlabel='bytes', title=f'array as {direction}')
    both[0].set_ylabel('milliseconds')
    both[1].legend(frameon=False, fontsize=8)
    return figure


if __name__ == '__main__':
    main()
