"""What travels between processes, how, and as what it arrives."""

from __future__ import annotations

import enum
import functools
import math
import pickle
import sys
import textwrap
import types
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import uactor
from tests.support import Actor
from tests.support.peers import Peer
from tests.support.programs import get_output, run_python
from uactor.codec import messages, pickling, values
from uactor.v1 import actor_pb2 as pb

pytestmark = [pytest.mark.pythons('pickles'), pytest.mark.oldest_python]

INT64 = st.integers(-(2**63), 2**63 - 1)
VALID_TEXT = st.text()
ANY_TEXT = st.text(st.characters(exclude_categories=()))  # lone surrogates too


def nest(scalars: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return plain data of these scalars: lists, tuples and dicts, with tuples as keys."""
    keys = st.recursive(scalars, lambda inner: st.tuples(inner, inner), max_leaves=3)
    return st.recursive(
        scalars,
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.tuples(inner, inner)
            | st.dictionaries(keys, inner, max_size=4)
        ),
        max_leaves=15,
    )


NATIVE = nest(st.none() | st.booleans() | INT64 | st.floats() | VALID_TEXT | st.binary())
PLAIN = (
    nest(st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT | st.binary())
    | st.sets(st.integers())
    | st.builds(bytearray, st.binary())
)


def is_same(one: Any, other: Any) -> bool:
    """Tell whether values are equal to the last type, with NaN the same as NaN."""
    return type(one) is type(other) and (repr(one) == repr(other) or one == other)


def transfer(value: pb.Value) -> pb.Value:
    """Return what arrives of ``value``."""
    return pb.Value.FromString(value.SerializeToString())


def refuse(handle: pb.Handle) -> Any:
    raise AssertionError('there is no handle in this value')


def with_lists(value: Any) -> Any:
    """Return plain data as it arrives without pickles: tuples as lists, but for keys."""
    if isinstance(value, (list, tuple)):
        return [with_lists(item) for item in value]
    if isinstance(value, dict):
        return {key: with_lists(item) for key, item in value.items()}
    return value


# --- plain data -----------------------------------------------------------------------------


@settings(deadline=None)
@given(PLAIN)
def test_plain_data_is_the_same_after_its_way_as_a_pickle(value: Any) -> None:
    assert is_same(values.decode(transfer(values.encode(value)), refuse, unpickle=True), value)


@settings(deadline=None)
@given(NATIVE)
def test_plain_data_is_the_same_after_its_way_in_native_forms(value: Any) -> None:
    encoded = transfer(values.encode_native(value, values.refuse_to_share))
    assert is_same(values.decode(encoded, refuse, unpickle=False), with_lists(value))


@pytest.mark.parametrize('value', [2**63, -(2**63) - 1, 10**30, '\ud800', {1}, object(), 1j])
def test_a_value_without_a_native_form_becomes_a_handle(value: Any) -> None:
    shared: list[Any] = []

    def share(part: Any) -> pb.Handle:
        shared.append(part)
        return pb.Handle(id='7')

    encoded = values.encode_native([{'key': value}], share)
    assert encoded.list.items[0].map.entries[0].value.handle.id == '7'
    assert shared == [value]


def test_a_value_without_a_native_form_is_refused_without_handles() -> None:
    with pytest.raises(uactor.SerializationError, match='set has no native form'):
        values.encode_native([{1}], values.refuse_to_share)


@pytest.mark.parametrize('level', [lambda value: [value], lambda value: {'key': value}])
def test_native_values_are_no_deeper_than_protobuf_reads(level: Callable[[Any], Any]) -> None:
    value: Any = 1
    for _ in range(200):
        value = level(value)
    request = pb.SessionRequest()
    encoded = values.encode_native(value, lambda part: pb.Handle(id='7'))
    request.call.kwargs['argument'].CopyFrom(encoded)
    assert pb.SessionRequest.FromString(request.SerializeToString()) == request


@pytest.mark.parametrize('mapping', [{'a': 1, 'b': 2}, OrderedDict(a=1, b=2)])
@pytest.mark.parametrize('view', ['keys', 'values', 'items'])
def test_views_of_dicts_arrive_as_lists(mapping: dict[str, int], view: str) -> None:
    value = getattr(mapping, view)()
    pickled = values.decode(values.encode([value]), refuse, unpickle=True)
    by_value = values.decode(values.encode([value, lambda: 1]), refuse, unpickle=True)
    native = values.decode(
        values.encode_native([value], values.refuse_to_share), refuse, unpickle=False
    )
    assert pickled == by_value[:1] == [list(value)]
    assert native == [with_lists(list(value))]


def test_a_mapping_may_have_lists_for_keys_as_other_languages_send_them() -> None:
    entry = pb.MapEntry(
        key=values.encode_native((1, (2, 3)), values.refuse_to_share), value=pb.Value(int64=4)
    )
    value = pb.Value(map=pb.MapValue(entries=[entry]))
    assert values.decode(value, refuse, unpickle=False) == {(1, (2, 3)): 4}


def test_a_mapping_with_a_key_that_cannot_be_hashed_is_refused() -> None:
    entry = pb.MapEntry(key=values.encode_native({}, values.refuse_to_share), value=pb.Value())
    with pytest.raises(uactor.SerializationError, match='key'):
        values.decode(pb.Value(map=pb.MapValue(entries=[entry])), refuse, unpickle=False)


def test_handles_are_counted_wherever_they_stand_in_a_value() -> None:
    def handle(name: str) -> pb.Value:
        return pb.Value(handle=pb.Handle(id=name))

    inner = pb.Value(list=pb.ListValue(items=[handle('in a list'), pb.Value(int64=1)]))
    entry = pb.MapEntry(key=handle('a key'), value=inner)
    value = pb.Value(map=pb.MapValue(entries=[entry, entry]))
    assert list(messages.list_granted_handles(value)) == 2 * ['a key', 'in a list']


def test_a_value_that_is_unset_is_none() -> None:
    assert values.decode(pb.Value(), refuse, unpickle=False) is None


def test_classes_without_a_name_in_a_module_travel_by_name() -> None:
    kinds = [type(None), type(...), type(NotImplemented)]
    assert pickling.loads(pickling.dumps(kinds, by_value=False)) == kinds


# --- to an actor and back -------------------------------------------------------------------


class Colour(enum.Enum):
    RED = 1


class Echo(Actor):
    """Returns what it gets, and tells what it is."""

    def echo(self, value: Any) -> Any:
        return value

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        return function(*args)

    def set_attribute(self, instance: Any, value: Any) -> None:
        """Change the class that ``instance`` belongs to here."""
        self.kind = type(instance)
        self.kind.number = value

    def attribute(self, instance: Any) -> tuple[bool, Any]:
        """Tell whether ``instance`` is of the class seen before, and what that says by now."""
        return type(instance) is self.kind, type(instance).number

    def items(self) -> Any:
        return uactor.proxy([1, 2], 'list')

    def colours(self) -> set[Any]:
        return {Colour.RED}

    def fail(self, error: str) -> None:
        raise {'builtin': KeyError('key'), 'own': Unusual(1, 2)}[error]


class Unusual(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(f'{one} and {two}')


@pytest.fixture(scope='module')
def echo() -> Iterator[Any]:
    with Echo() as actor:
        yield actor


def double(number: int) -> int:
    return 2 * number


def test_plain_data_comes_back_from_an_actor_as_it_was(echo: Any) -> None:
    @settings(deadline=None, max_examples=50)
    @given(PLAIN)
    def comes_back(value: Any) -> None:
        assert is_same(echo.echo(value), value)

    comes_back()


@pytest.mark.parametrize(
    'value', [Colour.RED, Colour, double, len, math, functools.partial(double)]
)
def test_an_importable_object_travels_by_name(echo: Any, value: Any) -> None:
    returned = echo.echo(value)
    assert returned is value or returned.func is value.func


def test_lambdas_and_closures_run_in_the_actor(echo: Any) -> None:
    base = 40

    def add(number: int) -> int:
        return base + number

    assert echo.call(add, 2) == 42
    assert echo.call(lambda number: add(number) + 1, 2) == 43
    assert echo.echo(add)(1) == 41


def local_class() -> Any:
    """Return a class that can't be imported, and so travels by value."""

    class Local:
        number = 0

    return Local


def test_a_class_by_value_comes_back_as_the_senders_own(echo: Any) -> None:
    kind = local_class()
    assert echo.echo(kind) is kind
    assert type(echo.echo(kind())) is kind


def test_a_class_by_value_keeps_what_the_actor_has_done_to_it(echo: Any) -> None:
    kind = local_class()
    echo.set_attribute(kind(), 5)
    assert echo.attribute(kind()) == (True, 5)
    assert kind.number == 0
    kind.number = 7
    assert echo.attribute(kind()) == (True, 5)


def test_a_class_by_value_keeps_what_its_own_process_has_done_to_it(echo: Any) -> None:
    kind = local_class()
    kind.number = 7
    echo.set_attribute(kind(), 5)
    assert echo.echo(kind).number == 7


MAIN = textwrap.dedent(
    """
    import dataclasses, enum, functools, typing
    import uactor

    class Plain:
        number = 0

    @dataclasses.dataclass(frozen=True)
    class Point:
        x: int
        y: 'Point | None' = None

    class Colour(enum.Enum):
        RED = 1

    class Pair(typing.NamedTuple):
        one: int
        two: object

    T = typing.TypeVar('T')

    class Box(typing.Generic[T]):
        content: T

    class MyError(Exception):
        pass

    def double(number):
        return 2 * number

    @functools.lru_cache(maxsize=None)
    def fibonacci(number):
        return number if number < 2 else fibonacci(number - 1) + fibonacci(number - 2)

    Number = typing.NewType('Number', int)

    class Actor(uactor.Actor):
        total = 0

        def echo(self, value):
            return value

        def call(self, function, *args):
            return function(*args)

        def count(self):
            Actor.total += 1
            Plain.number += 1
            return Actor.total

        def counts(self, actor_class, plain):
            return actor_class is Actor, type(plain) is Plain, Actor.total, Plain.number

        def knows(self, value):
            return isinstance(value, (Plain, Point, Colour, Pair, Box))

        def fail(self):
            raise MyError('on purpose')

    def check():
        actor = Actor()
        for value in (Point(1, Point(2)), Colour.RED, Pair(1, Colour.RED)):
            assert actor.knows(value)
            returned = actor.echo(value)
            assert returned == value and type(returned) is type(value)
        assert actor.echo(Colour.RED) is Colour.RED
        assert actor.knows(Plain()) and actor.knows(Box())
        for kind in (Plain, Point, Colour, Pair, Box, MyError, Actor):
            assert actor.echo(kind) is kind
        assert actor.echo(T) is T
        assert actor.call(double, 21) == 42
        assert actor.call(lambda: Point(double(1))) == Point(2)
        assert actor.call(fibonacci, 90) == 2880067194370816120  # by its cache, or not before long
        assert fibonacci.cache_info().currsize == 0
        assert actor.call(lambda: Number(3)) == 3
        assert actor.call(lambda: Number.__supertype__) is int
        try:
            actor.fail()
        except MyError as error:
            assert error.args == ('on purpose',)
        assert [actor.count(), actor.count()] == [1, 2]
        assert actor.counts(Actor, Plain()) == (True, True, 2, 2)
        assert Actor.total == Plain.number == 0
        print('as promised')

    check()
    """
)


@pytest.mark.parametrize('way', ['script', 'stdin', 'command'])
def test_definitions_of_main_come_back_as_its_own(way: str, tmp_path: Path) -> None:
    script = tmp_path / 'program.py'
    script.write_text(MAIN)
    arguments = {'script': [str(script)], 'stdin': ['-'], 'command': ['-c', MAIN]}[way]
    assert get_output(run_python(*arguments, stdin=MAIN)) == 'as promised\n'


def test_modules_that_the_user_has_registered_travel_by_value(echo: Any, tmp_path: Path) -> None:
    program = textwrap.dedent(
        """
        import sys
        import cloudpickle
        from tests.codec.test_values import Echo

        with Echo() as actor:
            sys.path.insert(0, sys.argv[1])
            import only_here
            cloudpickle.register_pickle_by_value(only_here)
            print(actor.call(only_here.function), actor.echo(only_here.Kind) is only_here.Kind)
        """
    )
    (tmp_path / 'only_here.py').write_text('class Kind: pass\ndef function(): return 42\n')
    assert get_output(run_python('-c', program, str(tmp_path))) == '42 True\n'


def test_only_modules_within_a_registered_one_travel_by_value(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = {}
    for name in ('shelf', 'shelf.inner', 'shelfful'):
        monkeypatch.setitem(sys.modules, name, module := types.ModuleType(name))
        made[name] = module.Kind = type('Kind', (), {'__module__': name})  # type: ignore[attr-defined]
    cloudpickle.register_pickle_by_value(sys.modules['shelf'])
    try:
        by_name = [name for name, kind in made.items() if pickling.is_importable(kind)]
    finally:
        cloudpickle.unregister_pickle_by_value(sys.modules['shelf'])
    assert by_name == ['shelfful']


# --- other serializers ----------------------------------------------------------------------


class Picky(Echo):
    _options_ = {'serializer': 'pickle'}


@pytest.fixture(scope='module')
def picky() -> Iterator[Any]:
    with Picky() as actor:
        yield actor


def make_lambda() -> Any:
    return lambda: 1


def test_pickle_sends_what_can_be_imported(picky: Any) -> None:
    assert picky.echo((Colour.RED, double, {1: [2]})) == (Colour.RED, double, {1: [2]})
    assert picky.call(double, 21) == 42


def test_pickle_refuses_what_would_travel_by_value(picky: Any) -> None:
    for argument in (make_lambda(), local_class()()):
        with pytest.raises(uactor.SerializationError, match='only travels by value') as caught:
            picky.echo(argument)
        assert caught.value.executed == 'no'
    with pytest.raises(uactor.SerializationError, match='only travels by value') as caught:
        picky.call(make_lambda)
    assert caught.value.executed == 'yes'
    assert picky.echo(1) == 1


def no_pickles(*args: Any, **kwargs: Any) -> Any:
    raise AssertionError('something has been unpickled')


class Native(Echo):
    """Can't unpickle, and so shows that it need not."""

    _options_ = {'serializer': 'native'}
    _method_to_typeid_ = {'shared_items': 'list'}

    def __init__(self) -> None:
        import cloudpickle

        modules: list[Any] = [pickle, cloudpickle, pickling]
        for module in modules:
            module.loads = no_pickles
        pickle.Unpickler = no_pickles  # type: ignore[misc, assignment]
        self._items = [1, 2]

    def shared_items(self) -> list[int]:
        return self._items

    def total(self, items: Any) -> int:
        return sum(items)

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool:
        return bool(error == 'swallow me')


@pytest.fixture
def native(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with Native() as actor, monkeypatch.context() as patch:
        patch.setattr(pickling, 'loads', no_pickles)
        patch.setattr(pickle, 'loads', no_pickles)
        yield actor


def test_native_passes_plain_data_and_proxies_without_any_pickle(native: Any) -> None:
    for value in (None, True, 2**62, 1.5, 'text', b'bytes', [1, [2]], {'a': {(1, 2): 3}}):
        assert is_same(native.echo(value), value)
    assert native.echo((1, 2)) == [1, 2]
    items = native.shared_items()
    items.append(3)
    assert items[-1] == 3
    assert native.total(items) == 6
    native.echo(items).append(4)
    assert list(items) == [1, 2, 3, 4]


def test_native_shares_results_that_have_no_native_form(native: Any) -> None:
    assert native.items()[1] == 2


def test_native_raises_builtins_and_tells_of_others(native: Any) -> None:
    with pytest.raises(KeyError) as builtin:
        native.fail('builtin')
    assert builtin.value.args == ('key',)
    assert isinstance(builtin.value.__cause__, uactor.RemoteTraceback)
    with pytest.raises(uactor.RemoteError) as remote:
        native.fail('own')
    assert remote.value.type_name == f'{__name__}.Unusual'
    assert remote.value.message == '1 and 2'
    with pytest.raises(uactor.NotExposedError):
        native._callmethod('missing')


@pytest.mark.parametrize('value', [{1}, Colour.RED, double, 2**64, '\ud800', object()])
def test_native_refuses_arguments_without_native_form(native: Any, value: Any) -> None:
    with pytest.raises(uactor.SerializationError, match='has no native form') as caught:
        native.echo(value)
    assert caught.value.executed == 'no'


def test_an_exception_passes_the_block_of_an_actor_without_pickles() -> None:
    with pytest.raises(Unusual), Native():
        raise Unusual(1, 2)
    with Native():
        raise ValueError('swallow me')


def test_a_client_that_trusts_no_pickle_gets_none_from_an_actor_that_makes_them(echo: Any) -> None:
    body = """
    import pickle
    import uactor
    from tests.codec.test_values import Echo, no_pickles
    from uactor.codec import pickling, values

    (address,) = given
    actor = Echo.connect(address, serializer='native')
    values.loads_with = pickling.loads = pickle.loads = no_pickles
    assert actor.echo([1, {'a': (2, 3)}]) == [1, {'a': [2, 3]}]
    assert actor.items()[1] == 2
    assert uactor.typeid(actor.colours()) == 'auto'  # has no native form
    try:
        actor.fail('own')
    except uactor.RemoteError as error:
        say(error.message)
    try:
        actor.echo({1})
    except uactor.SerializationError as error:
        say(error.executed)
    assert Echo.connect(address).echo((1,)) == [1]  # the stricter side wins, and remains
    """
    with Peer(body, echo.connection_address) as peer:
        assert [peer.read_line(), peer.read_line()] == ['1 and 2', 'no']
        assert peer.end() == 0


def test_an_unknown_serializer_is_refused(echo: Any) -> None:
    class Unknown(Actor):
        _options_ = {'serializer': 'xml'}

    with pytest.raises(ValueError, match="unknown serializer 'xml'"):
        Unknown()
    with pytest.raises(ValueError, match="unknown serializer 'xml'"):
        Echo.connect(echo.connection_address, serializer='xml')


# --- other versions -------------------------------------------------------------------------


@pytest.fixture
def from_another_python(echo: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An actor to which this process seems to run another Python."""
    monkeypatch.setattr(pickling, 'PYTHON_VERSION', '3.99.0')
    # This thread's session knows better: take another thread, with a session of its own.
    return echo


def in_new_thread(function: Callable[[], Any]) -> Any:
    """Return what ``function()`` returns in a thread that has no session yet."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


def test_plain_data_and_names_pass_between_python_versions(from_another_python: Any) -> None:
    value = [Colour.RED, {'a': (1, 2)}, double]
    assert in_new_thread(lambda: from_another_python.echo(value)) == value


def test_nothing_travels_by_value_between_python_versions(from_another_python: Any) -> None:
    with pytest.raises(uactor.SerializationError, match='different Python version'):
        in_new_thread(lambda: from_another_python.echo(make_lambda()))
    with pytest.raises(uactor.SerializationError, match='different Python version'):
        in_new_thread(lambda: from_another_python.call(make_lambda))
    assert in_new_thread(lambda: from_another_python.echo(1)) == 1


def test_another_protocol_is_refused(echo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('uactor.client.handshake.PROTOCOL_VERSION', 2)
    with pytest.raises(uactor.VersionError, match='speaks protocol 1, not 2'):
        in_new_thread(lambda: echo.echo(1))
    monkeypatch.undo()
    assert in_new_thread(lambda: echo.echo(1)) == 1
