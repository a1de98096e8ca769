import sys
import threading
import traceback

import uactor


class Bridge(uactor.Actor):
    def __init__(self) -> None:
        self._is_free = threading.Event()

    @uactor.method
    def cross(self) -> str:
        self._is_free.wait()
        return 'crossed'

    def open(self) -> None:
        self._is_free.set()

    def stacks(self) -> list[str]:
        """Return what the threads of the actor run, as far as it is in this file."""
        return [
            f'{frame.name}: {frame.line}'
            for top in sys._current_frames().values()
            for frame in traceback.extract_stack(top)
            if frame.filename == __file__ and frame.name != 'stacks'
        ]


if __name__ == '__main__':
    with Bridge() as bridge:
        crossing = bridge.cross.future()
        with_deadline = bridge.cross.options(timeout=0.2)
        try:
            with_deadline()
        except uactor.DeadlineError as error:
            print(error)
        print(*bridge.stacks(), sep='\n')  # calls that wait don't keep this one from running
        bridge.open()
        print(crossing.result())
