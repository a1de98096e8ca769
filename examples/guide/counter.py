import os

import uactor


class Counter(uactor.Actor):
    def __init__(self, start: int = 0) -> None:
        self._value = start

    def add(self, by: int) -> int:
        self._value += by
        return self._value

    def pid(self) -> int:
        return os.getpid()


with Counter(10) as counter:  # starts a process, and makes the counter there
    print(counter.add(5))
    print('runs elsewhere:', counter.pid() != os.getpid())
# here the process has ended
