from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from typing import TYPE_CHECKING

import uactor


class Bakery(uactor.Actor):
    @uactor.method
    def bake(self, kind: str, count: int = 1) -> list[str]:
        return [kind] * count

    @uactor.method
    def smells(self) -> Iterator[str]:
        yield from ('rye', 'wheat')

    @uactor.method
    async def rest(self, seconds: float) -> str:
        return f'rested for {seconds} s'

    def price(self, kind: str) -> int:  # undecorated: its plain calls are typed
        return len(kind)


if TYPE_CHECKING:  # type checkers verify each line; nothing of it runs
    from typing_extensions import assert_type

    def check(bakery: Bakery) -> None:
        assert_type(Bakery(), Bakery)
        assert_type(bakery.bake('rye'), list[str])
        assert_type(bakery.bake.future('rye'), Future[list[str]])
        assert_type(bakery.bake.map(['rye', 'wheat']), uactor.Results[list[str]])
        assert_type(bakery.smells(), Iterator[str])
        assert_type(bakery.smells.stream(), uactor.Stream[str])
        assert_type(bakery.price('rye'), int)
        bakery.bake.future(3)  # type: ignore[arg-type]
        bakery.price.future('rye')  # type: ignore[attr-defined]

    async def check_aio(bakery: Bakery) -> None:
        assert_type(await bakery.bake.aio('rye'), list[str])
        assert_type(await bakery.rest.aio(0.5), str)
        assert_type(await bakery.rest(0.5), str)


if __name__ == '__main__':
    with Bakery() as bakery:
        print(bakery.bake.future('rye', count=2).result(), bakery.price('rye'))
