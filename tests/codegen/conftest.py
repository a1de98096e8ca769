"""What the generator makes of the corpus."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.codegen.support import CASES, generate


@pytest.fixture(scope='session')
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what is generated for each case, in a package of its own."""
    folder = tmp_path_factory.mktemp('generated')
    for case in CASES:
        generate(case, folder / f'made_{case.name}')
    return folder
