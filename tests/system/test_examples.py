"""The examples print what their comments say."""

from __future__ import annotations

import pathlib

import pytest

from tests.support import TRANSPORT
from tests.support.programs import EXAMPLES, get_output, is_as_promised, run_python

pytestmark = pytest.mark.skipif(TRANSPORT != 'unix', reason='examples choose their own transport')

PROMISING = [path for path in sorted(EXAMPLES.glob('*.py')) if '# prints ' in path.read_text()]


@pytest.mark.parametrize('path', PROMISING, ids=lambda path: path.stem)
def test_an_example_prints_what_its_comments_say(path: pathlib.Path) -> None:
    printed = get_output(run_python(str(path)))
    assert is_as_promised(printed, path.read_text()), printed


def test_an_example_that_prints_something_else_is_noticed() -> None:
    source = 'print(1)  # prints 1\nprint(2)  # prints …\n'
    assert is_as_promised('1\n2\n', source)
    assert not is_as_promised('1\n', source)
    assert not is_as_promised('2\n1\n', source)
