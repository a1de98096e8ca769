"""xoscar: an actor in a sub-pool, called from a coroutine of the main pool."""

from __future__ import annotations

import asyncio
from typing import Any

import xoscar
from xoscar.backends.allocate_strategy import ProcessIndex

from benchmarks.peer import Base, Work


class Exposed(xoscar.StatelessActor, Work):  # type: ignore[misc]
    def __init__(self) -> None:
        xoscar.StatelessActor.__init__(self)
        Work.__init__(self)


class Peer(Base):
    def __enter__(self) -> Peer:
        self._loop = asyncio.new_event_loop()
        self._run(self._open())
        return self

    def _run(self, coroutine: Any) -> Any:
        return self._loop.run_until_complete(coroutine)

    async def _open(self) -> None:
        self._pool = await xoscar.create_actor_pool('127.0.0.1', n_process=1)
        self._actor = await xoscar.create_actor(
            Exposed,
            address=self._pool.external_address,
            uid='work',
            allocate_strategy=ProcessIndex(1),
        )

    def __exit__(self, *exception: object) -> None:
        self._run(self._pool.stop())
        self._loop.close()

    def repeated(self, count: int) -> None:
        """Make blocking calls inside one coroutine: entering the loop is not what is measured."""

        async def calls() -> None:
            for number in range(count):
                await self._actor.add(number)

        self._run(calls())

    def call(self, number: int) -> int:
        return int(self._run(self._actor.add(number)))

    def argument(self, data: Any) -> int:
        return int(self._run(self._actor.take(data)))

    def result(self, size: int) -> Any:
        return self._run(self._actor.give(size))

    def pipelined(self, count: int) -> list[int]:
        async def all_of_them() -> list[int]:
            return list(await asyncio.gather(*map(self._actor.add, range(count))))

        return list(self._run(all_of_them()))

    def pid(self) -> int:
        return int(self._run(self._actor.pid()))
