from collections.abc import Iterator

import uactor


class Polls(uactor.Actor):
    """Counts votes."""

    _exposed_ = ('vote', 'ranking', 'leader', 'closed')
    _method_to_typeid_ = {'votes': 'dict'}

    def __init__(self, *names: str) -> None:
        self._votes = dict.fromkeys(names, 0)
        self.closed = False

    def vote(self, name: str, count: int = 1) -> int:
        """Add votes and return how many there are."""
        if self.closed:
            raise PermissionError('the polls are closed')
        self._votes[name] += count
        return self._votes[name]

    def votes(self) -> dict[str, int]:
        """Return all votes."""
        return self._votes

    def ranking(self) -> Iterator[str]:
        """Yield the names, the leader first."""
        yield from sorted(self._votes, key=self._votes.__getitem__, reverse=True)

    @property
    def leader(self) -> str:
        """Who has most votes."""
        return next(self.ranking())
