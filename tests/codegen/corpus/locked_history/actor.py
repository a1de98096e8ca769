"""A class whose lock has a history: something is gone, renamed, pinned, and has come back."""

from __future__ import annotations

import dataclasses
import enum
from typing import Annotated

import uactor


class State(enum.Enum):
    NEW = 0
    DONE = 2


@dataclasses.dataclass
class Entry:
    title: Annotated[str, uactor.renamed_from('name')]
    weight: Annotated[int, uactor.field(9)] = 0
    state: State = State.NEW
    color: str = ''


class Journal(uactor.Actor):
    _package_ = 'corpus.locked_history'
    _exposed_ = ('write', 'count')

    def write(self, entry: Entry, times: int = 1) -> list[Entry]:
        return [entry] * times

    def count(self) -> int:
        return 0
