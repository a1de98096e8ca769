"""Refreshes the corpus of the code generator: what is expected of it, and the locks."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.codegen.support import CASES, RUNTIME, run


def main() -> None:
    for case in CASES:
        shutil.rmtree(case.expected, ignore_errors=True)
        done = run(*case.targets, '-o', case.expected)
        sys.stderr.write(done.stderr)
        done.check_returncode()
        shutil.rmtree(case.expected / RUNTIME)


if __name__ == '__main__':
    main()
