"""Ray: an actor with its defaults."""

from __future__ import annotations

import logging
from typing import Any

from benchmarks.peer import Base, Work


class Peer(Base):
    def __enter__(self) -> Peer:
        import ray

        ray.init(
            num_cpus=2,
            include_dashboard=False,
            logging_level=logging.ERROR,
            log_to_driver=False,
            object_store_memory=1 << 30,
        )
        self._class = ray.remote(num_cpus=0)(Work)
        self._actor = self._class.remote()
        self._get = ray.get
        return self

    def __exit__(self, *exception: object) -> None:
        import ray

        ray.shutdown()

    def call(self, number: int) -> int:
        return int(self._get(self._actor.add.remote(number)))

    def argument(self, data: Any) -> int:
        return int(self._get(self._actor.take.remote(data)))

    def result(self, size: int) -> Any:
        return self._get(self._actor.give.remote(size))

    def pipelined(self, count: int) -> list[int]:
        return list(self._get([self._actor.add.remote(number) for number in range(count)]))

    def start(self) -> None:
        import ray

        actor = self._class.remote()
        self._get(actor.add.remote(1))
        ray.kill(actor)

    def pid(self) -> int:
        return int(self._get(self._actor.pid.remote()))
