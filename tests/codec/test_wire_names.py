"""Which names of uactor pickles contain: those of `uactor._wire`, and public classes."""

from __future__ import annotations

import pkgutil
import re
import types

import uactor
from tests.support.programs import ROOT, get_output, run_python
from uactor import _wire

SECTION = (ROOT / 'docs' / 'wire.md').read_text().partition('## Names in pickles\n')[2]
NAMES = set(re.findall(r'`(uactor\.[\w.]+)`', SECTION.partition('\n## ')[0]))

PROGRAM = """
import dataclasses, enum, functools, io, pickle, typing
import uactor

from uactor.proxies.standard import PROXIES

T = typing.TypeVar('T')
Metres = typing.NewType('Metres', float)

class Recorder(pickle.Unpickler):
    names = set()

    def find_class(self, module, name):
        if module.partition('.')[0] == 'uactor':
            self.names.add(f'{module}.{name}')
        return super().find_class(module, name)

def record():
    # All that comes to this process is rebuilt by this function.
    def loads(data, **options):
        return Recorder(io.BytesIO(data), **options).load()
    pickle.loads = loads

@functools.lru_cache
def double(number):
    return 2 * number

@dataclasses.dataclass
class Point(typing.Generic[T]):
    x: T

class Colour(enum.Enum):
    RED = 1

class Failure(Exception):
    pass

class OwnProxy(uactor.BaseProxy):
    _exposed_ = ('pop',)
    pop = uactor.ProxyMethod('pop')

class Manager(uactor.ActorManager):
    pass

class Inner(uactor.Actor):
    pass

class Recording(uactor.Actor):
    manager_class = Manager
    _proxies_ = {'own': OwnProxy}
    colour = Colour.RED

    @uactor.method
    def record(self):
        record()

    def names(self):
        return Recorder.names

    def echo(self, value):
        return value

    def share(self, value, typeid='auto'):
        return uactor.proxy(value, typeid)

    def call(self, proxy, name, *args):
        return getattr(proxy, name)(*args)

    def fail(self, error):
        raise error

    def numbers(self):
        yield from range(3)

record()
NEW = {'Value': ('i', 1), 'Array': ('i', [1]), 'Iterator': ([1],), 'Barrier': (1,), 'set': ([1],)}
ERRORS = [value for value in vars(uactor).values() if isinstance(value, type)
          and issubclass(value, uactor.UActorException)
          and value not in (uactor.RemoteError, uactor.RemoteTraceback)]
with Recording() as actor, Recording() as other, Inner() as inner:
    actor.record()
    other.record()
    made = [getattr(actor._manager, typeid)(*NEW.get(typeid, ()))
            for typeid in PROXIES if typeid not in ('Pool', 'AsyncResult')]
    pool = actor._manager.Pool(1)
    made += [pool, pool.apply_async(int), actor.share([1]), actor.share([1], 'own')]
    sent = [
        *made, actor, inner, type(actor), type(inner), Recording, Inner, Manager, OwnProxy,
        double, Metres, Point, Point(1), Colour.RED, lambda: Metres, {}.keys(), b'0' * 2**20,
        bytearray(2**20), actor.echo, actor.echo.options(timeout=1), made[0].append,
        Failure(1), *(error('text') for error in ERRORS),
        functools.partial(actor.echo, 1), uactor.current_call, uactor.proxy, uactor.typeid,
        uactor.call_metadata, uactor.Int32, uactor.field, uactor.DEFAULT_SERIALIZER,
    ]
    for value in sent:
        other.echo(value)
        other.echo(other.call(actor, 'echo', value))
        pickle.loads(pickle.dumps(actor))
    for error in [Failure(1), *(error('text') for error in ERRORS)]:
        try:
            actor.fail(error)
        except Exception as found:
            assert type(found) is type(error), found
    list(actor.numbers())
    other.echo(actor.numbers.stream)
    for name in sorted(Recorder.names | actor.names() | other.names()):
        print(name)
    pool.terminate()
"""


def test_pickles_name_nothing_that_may_move() -> None:
    named = set(get_output(run_python('-c', PROGRAM)).split())
    assert 'uactor._wire.rebuild_proxy' in named
    assert {name for name in named if not is_documented(name)} == set()


def is_documented(name: str) -> bool:
    """Return whether docs/wire.md says that pickles contain the name."""
    return any(name == known or name.startswith(f'{known}.') for known in NAMES)


def test_every_function_of_the_module_is_documented() -> None:
    functions = {
        name
        for name, value in vars(_wire).items()
        if isinstance(value, types.FunctionType) and value.__module__ == _wire.__name__
    }
    written = {name.removeprefix('uactor._wire.') for name in NAMES if '._wire.' in name}
    assert written == functions - {'implements'}


def test_every_documented_name_exists() -> None:
    for name in NAMES:
        assert pkgutil.resolve_name(name) is not None


def test_public_functions_are_pickled_by_their_public_names() -> None:
    for name in uactor.__all__:
        value = getattr(uactor, name)
        if isinstance(value, types.FunctionType):
            assert (value.__module__, value.__qualname__) == ('uactor', name)
        elif isinstance(value, type):
            assert is_documented(f'{value.__module__}.{value.__qualname__}'), name
