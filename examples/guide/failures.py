import threading

import uactor


class RouteError(Exception):
    """Can be raised anywhere, but not rebuilt from its pickle: it wants two arguments."""

    def __init__(self, start: str, end: str) -> None:
        super().__init__(f'no way from {start} to {end}')


class Map(uactor.Actor):
    def distance(self, start: str, end: str) -> int:
        return {'Ayr': 0, 'Bex': 7}[end]

    def route(self, start: str, end: str) -> list[str]:
        raise RouteError(start, end)

    def lock(self) -> threading.Lock:
        return threading.Lock()


with Map() as atlas:
    try:
        atlas.distance('Ayr', 'Cork')
    except KeyError as error:
        print(repr(error), 'caused by', type(error.__cause__).__name__)

    try:
        atlas.route('Ayr', 'Cork')
    except uactor.RemoteError as error:
        print(f'RemoteError: {error}')

    try:
        atlas.lock()
    except uactor.SerializationError as error:
        print(f'SerializationError: {error}')

try:
    with Map():
        raise LookupError('of the block')
except LookupError as error:
    print(repr(error), 'caused by', error.__cause__)
