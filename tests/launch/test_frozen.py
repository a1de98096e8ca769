"""Frozen programs: one executable is the program and its interpreter."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest

from tests.support.brake import variables
from tests.support.programs import environment

PROGRAM = """
import os, sys
import uactor
{begin}

class Key(str):
    pass

class Cache(uactor.Actor):
    def __init__(self):
        self.found = {{}}

    def put(self, key, value):
        self.found[key] = value
        return os.getpid()

    def get(self, key):
        return self.found[key], [type(found).__name__ for found in self.found]

class Boss(uactor.Actor):
    def ask(self):
        with Cache() as cache:
            return cache.put('a', 1) != os.getpid()

def main():
    with Cache() as cache, Boss() as boss:
        pid = cache.put(Key('a'), 1)
        print(pid != os.getpid(), *cache.get('a'), boss.ask(), sys.argv[1:])

with open(os.environ['COUNTER'], 'a') as counter:
    counter.write('.')
if os.path.getsize(os.environ['COUNTER']) > 8:
    os._exit(9)
if __name__ == '__main__':
    main()
"""
PRINTED = "True 1 ['Key'] True ['word']\n"

DISGUISE = 'sys.frozen, sys.executable = {frozen}, os.environ["PROGRAM"]; '


def write_program(directory: pathlib.Path, begin: str) -> pathlib.Path:
    path = directory / 'program.py'
    path.write_text(PROGRAM.format(begin=begin))
    return path


def run(executable: pathlib.Path, directory: pathlib.Path) -> tuple[int, str, str, int]:
    """Run a program; return its exit status, what it has printed, and how often it has run."""
    counter = directory / 'counter'
    counter.touch()
    added = {'COUNTER': str(counter), 'PROGRAM': str(executable), **variables(20)}
    done = subprocess.run(
        [str(executable), 'word'],
        env={**environment(), **added},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr, counter.stat().st_size


@pytest.fixture
def executable(tmp_path: pathlib.Path) -> pathlib.Path:
    """Runs the program whatever it is given, as a frozen one does."""
    path = tmp_path / 'program'
    path.write_text(f'#!/bin/sh\nexec {sys.executable} {tmp_path}/program.py "$@"\n')
    path.chmod(0o755)
    return path


@pytest.mark.usefixtures('launcher')
def test_a_frozen_program_starts_actors(executable: pathlib.Path, tmp_path: pathlib.Path) -> None:
    write_program(tmp_path, DISGUISE.format(frozen=True) + 'uactor.freeze_support()')
    assert run(executable, tmp_path) == (0, PRINTED, '', 1)


def test_a_frozen_program_without_support_prints_an_error(
    executable: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    write_program(tmp_path, DISGUISE.format(frozen=True))
    status, _, error, runs = run(executable, tmp_path)
    assert (status, runs) == (1, 1)
    assert 'ActorStartError: this is a frozen program' in error
    assert 'call uactor.freeze_support() first' in error


def test_a_program_that_is_not_known_to_be_frozen_does_not_multiply(
    executable: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    write_program(tmp_path, DISGUISE.format(frozen=False))
    status, _, error, runs = run(executable, tmp_path)
    assert status == 1
    assert runs <= 3  # itself, as a template, and as an actor process
    assert 'call uactor.freeze_support() first' in error


def test_support_does_nothing_in_an_ordinary_program(tmp_path: pathlib.Path) -> None:
    path = write_program(tmp_path, 'uactor.freeze_support()')
    path.write_text(f'#!{sys.executable}\n{path.read_text()}')
    path.chmod(0o755)
    assert run(path, tmp_path) == (0, PRINTED, '', 1)


@pytest.mark.soak
@pytest.mark.parametrize('kind', ['--onedir', '--onefile'])
def test_pyinstaller_makes_a_program_that_starts_actors(kind: str, tmp_path: pathlib.Path) -> None:
    pytest.importorskip('PyInstaller', reason='`make soak` installs PyInstaller')
    path = write_program(tmp_path, 'uactor.freeze_support()')
    options = ['--noconfirm', '--name', 'frozen', kind, '--distpath', str(tmp_path / 'dist')]
    subprocess.run(
        [sys.executable, '-m', 'PyInstaller', *options, str(path)],
        cwd=tmp_path,
        env={**os.environ, 'PYTHONPATH': environment()['PYTHONPATH']},
        check=True,
        capture_output=True,
        timeout=600,
    )
    made = tmp_path / 'dist' / ('frozen/frozen' if kind == '--onedir' else 'frozen')
    assert run(made, tmp_path) == (0, PRINTED, '', 1)
