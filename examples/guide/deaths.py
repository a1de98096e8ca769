import logging
import threading

import uactor

logging.getLogger('uactor').setLevel(logging.ERROR)  # it would warn of the signal


class Sleeper(uactor.Actor):
    _method_to_typeid_ = {'never': 'Event'}

    def __init__(self) -> None:
        self._never = threading.Event()

    def never(self) -> threading.Event:
        return self._never


sleeper = Sleeper()
never, process = sleeper.never(), sleeper._manager.process
if process is not None:  # only the manager of the owner has it
    threading.Timer(0.1, process.kill).start()
    try:
        never.wait()
    except uactor.ActorDiedError as error:
        print('died during the call; executed:', error.executed)
    try:
        never.wait()
    except uactor.ActorDiedError as error:
        print('died before the call; executed:', error.executed)
    process.join()
    print('exit code:', process.exitcode)
