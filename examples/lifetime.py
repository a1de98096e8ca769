"""What runs in an actor from its beginning to its end."""

from __future__ import annotations

from types import TracebackType

import uactor


class Guest(uactor.Actor):
    def __init__(self, name: str) -> None:
        self.name = name
        print(name, 'arrives')

    def __enter__(self) -> Guest:
        print(self.name, 'comes in')
        return super().__enter__()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        print(self.name, 'goes out', f'because of {exc_value!r}' if exc_value else 'content')
        return super().__exit__(exc_type, exc_value, traceback)

    def shutdown(self) -> None:
        print(self.name, 'leaves')


# The block of the owner: the process ends with it.
with Guest('Ann'):
    # prints Ann arrives
    # prints Ann comes in
    pass
# prints Ann goes out content
# prints Ann leaves

# An exception of the block is told to the actor and reaches the caller.
try:
    with Guest('Bob'):
        # prints Bob arrives
        # prints Bob comes in
        raise ValueError('too loud')
    # prints Bob goes out because of ValueError('too loud')
    # prints Bob leaves
except ValueError as error:
    print(error, flush=True)  # prints too loud

# Without a block.
guest = Guest('Cleo')  # prints Cleo arrives
guest.shutdown()  # prints Cleo leaves

# An actor that nobody refers to any more ends as well, without its hooks.
guest = Guest('Dan')  # prints Dan arrives
process = guest._manager.process
del guest
if process is not None:  # only the proxy of the owner has it
    process.join(timeout=5)
    print('exit code', process.exitcode)  # prints exit code 0
