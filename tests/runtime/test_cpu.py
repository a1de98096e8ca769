"""Which core a thread runs on."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from uactor.runtime import cpu

pytestmark = [
    pytest.mark.quick,
    pytest.mark.skipif(
        not hasattr(os, 'sched_setaffinity'), reason='programs have no say in where threads run'
    ),
]


def in_a_thread(work: Callable[[], object]) -> None:
    """Do it in a thread of its own: where the others run stays as it is."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(work).result()


@pytest.mark.skipif(cpu.count_spare_cores() < 1, reason='there is one core')
def test_a_thread_goes_to_another_core_when_one_is_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, 'count_runnable_threads', lambda: 2)
    found: list[int] = []
    real = os.sched_setaffinity

    def noted(thread: int, allowed: set[int]) -> None:
        real(thread, allowed)
        found.append(tell())

    tell = cpu.get_current_core
    monkeypatch.setattr(os, 'sched_setaffinity', noted)

    def work() -> None:
        before, allowed = tell(), os.sched_getaffinity(0)
        monkeypatch.setattr(
            cpu, 'get_current_core', lambda: before
        )  # whatever the system does meanwhile
        cpu.move_to_idle_core()
        assert found[0] != before
        assert os.sched_getaffinity(0) == allowed

    in_a_thread(work)


def test_a_thread_stays_when_no_core_is_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, 'count_runnable_threads', lambda: 1 + (os.cpu_count() or 1))
    monkeypatch.setattr(os, 'sched_setaffinity', pytest.fail)
    cpu.move_to_idle_core()


def test_a_thread_that_may_use_one_core_only_stays_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, 'count_runnable_threads', lambda: 1)

    def work() -> None:
        only = {min(os.sched_getaffinity(0))}
        os.sched_setaffinity(0, only)
        cpu.move_to_idle_core()
        assert os.sched_getaffinity(0) == only
        assert cpu.count_spare_cores() == 0

    in_a_thread(work)


@pytest.mark.parametrize('text', ['', 'nothing of use'])
def test_a_system_that_does_not_tell_leaves_threads_where_they_are(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    odd = tmp_path / 'loadavg'
    if text:
        odd.write_text(text)
    monkeypatch.setattr(cpu, '_LOAD', odd)
    monkeypatch.setattr(os, 'sched_setaffinity', pytest.fail)
    with caplog.at_level('DEBUG', 'uactor.transport'):
        cpu.move_to_idle_core()
    assert 'stay on one core' in caplog.text


def test_load_and_current_core_are_read_from_the_system() -> None:
    assert cpu.count_runnable_threads() >= 1
    assert cpu.get_current_core() in range(os.cpu_count() or 1)
