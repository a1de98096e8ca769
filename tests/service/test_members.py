"""Which members of a class become methods, and under which names."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import sys
import types
import typing
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, TypeVar

import pytest
from typing_extensions import Self

from tests.service.models import Box, Point
from tests.service.support import from_json, needs_3_12, schema, transfer
from tests.support import Actor
from uactor.service.mapping.markers import field
from uactor.service.schema import schema_of

pytestmark = pytest.mark.quick

if TYPE_CHECKING:
    from somewhere import Unknown  # type: ignore[import-not-found]

T = TypeVar('T')
K = TypeVar('K')


def trace(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


@dataclasses.dataclass
class Tree:
    children: list[Self] = dataclasses.field(default_factory=list)


class Base(Actor):
    def inherited(self, x: int) -> int:
        """Say it of the base."""
        return x

    def overridden(self, x: int) -> int:
        return x


class Counter(Base):
    """Counts.

    Far.
    """

    _exposed_ = (
        *('add', 'overridden', 'level', 'fixed', 'cached', 'limit', 'START', 'LAST'),
        *('make', 'scale', 'wrapped', 'later', 'untyped', 'unknown', 'hidden', 'nothing', 'odd'),
        *('_private', 'shutdown', '__len__', 'Nested'),
    )
    limit: int
    START: ClassVar[int] = 1
    LAST: Final[int] = 2
    hidden = 3

    class Nested:
        pass

    def __init__(self) -> None:
        self.value = 0

    def add(self, by: int = 1) -> int:
        """Add to the value.

        :param by: how much;
            may be negative.
        :return: the new value.
        """
        return by

    def overridden(self, x: str) -> str:  # type: ignore[override]
        return x

    @property
    def level(self) -> int:
        """How high it stands."""
        return 1

    @level.setter
    def level(self, value: int) -> None: ...

    @property
    def fixed(self) -> str: ...

    @functools.cached_property
    def cached(self) -> str: ...

    @classmethod
    def make(cls, x: int) -> int: ...

    @staticmethod
    def scale(x: int) -> float: ...

    @trace
    def wrapped(self, x: int) -> int: ...

    async def later(self, x: int) -> int: ...

    def untyped(self, x): ...  # type: ignore[no-untyped-def]

    def unknown(self, x: Unknown) -> int: ...

    def odd(self, x: int):  # type: ignore[no-untyped-def]
        ...

    def _private(self) -> int: ...

    def __len__(self) -> int:
        return 1

    def shutdown(self) -> None: ...


def test_methods_and_attributes_become_rpcs() -> None:
    methods = schema_of(Counter).methods
    assert [(each.rpc, each.member, each.kind) for each in methods.values()] == [
        ('Shutdown', 'shutdown', 'call'),
        ('Inherited', 'inherited', 'call'),
        ('Overridden', 'overridden', 'call'),
        ('Add', 'add', 'call'),
        ('GetLevel', 'level', 'get'),
        ('SetLevel', 'level', 'set'),
        ('GetFixed', 'fixed', 'get'),
        ('GetCached', 'cached', 'get'),
        ('GetLimit', 'limit', 'get'),
        ('SetLimit', 'limit', 'set'),
        ('GetSTART', 'START', 'get'),
        ('GetLAST', 'LAST', 'get'),
        ('Make', 'make', 'call'),
        ('Scale', 'scale', 'call'),
        ('Wrapped', 'wrapped', 'call'),
        ('Later', 'later', 'call'),
        ('Private', '_private', 'call'),
    ]


def test_members_that_are_left_out_have_a_reason() -> None:
    unmapped = schema_of(Counter).unmapped
    assert set(unmapped) == {'untyped', 'unknown', 'hidden', 'nothing', 'odd', 'Nested'}
    assert "'x'" in unmapped['untyped']
    assert "'Unknown'" in unmapped['unknown']
    assert 'result' in unmapped['odd']


def test_members_that_every_actor_has_are_not_in_the_service() -> None:
    class Plain(Actor):
        pass

    made = schema_of(Plain)
    assert not made.methods
    assert not made.unmapped


def test_methods_know_what_they_stand_for() -> None:
    add = schema_of(Counter).methods['Add']
    assert add.doc == inspect.getdoc(Counter.add)
    assert str(add.signature) == '(by: int = 1) -> int'
    assert schema_of(Counter).methods['Inherited'].doc == 'Say it of the base.'
    assert add.request_class.DESCRIPTOR.name == 'AddRequest'


def test_attributes_are_read_and_written() -> None:
    methods = schema_of(Counter).methods
    assert methods['GetLevel'].read_request(methods['GetLevel'].request_class()) == ((), {})
    message = transfer(methods['SetLevel'].write_request((5,)))
    assert methods['SetLevel'].read_request(message) == ((5,), {})


def test_two_members_can_not_have_one_rpc() -> None:
    def call(self: Any) -> int: ...

    made = schema(call, get_x=call, x=property(call))
    assert made.methods['GetX'].member == 'get_x'
    assert "'get_x'" in made.unmapped['x']


class Store(Actor, Generic[K, T]):
    last: T
    _exposed_ = ('put', 'last', 'first')

    def put(self, key: K, value: T | None = None, *more: T) -> dict[str, Box[T]]: ...

    @property
    def first(self) -> list[T]: ...


class Points(Store[str, T], Generic[T]):
    def other(self, x: T) -> T: ...


class IntPoints(Points[Point]):
    pass


def test_inherited_generics_are_made_concrete() -> None:
    made = schema_of(IntPoints)
    assert not made.unmapped
    put = made.methods['Put']
    assert from_json(put, {'key': 'a', 'value': {'x': 1}}) == {'key': 'a', 'value': Point(1)}
    args = put.read_request(transfer(put.write_request(('a', Point(1), Point(2)))))[0]
    assert args == ('a', Point(1), Point(2))
    assert made.message_class('PointBox').DESCRIPTOR.fields_by_name['item'].message_type.name == (
        'Point'
    )


def test_a_generic_class_of_nothing_is_left_out() -> None:
    assert set(schema_of(Store).unmapped) == {'put', 'last', 'first'}


class Inner(Actor):
    class Reading(typing.NamedTuple):
        value: float

    def read(self, after: Reading | None = None) -> Reading: ...


def test_annotations_may_name_what_stands_in_the_class() -> None:
    assert set(schema_of(Inner).unmapped) == {'Reading'}


class Configured(Actor):
    _package_ = 'Shop.My-Counters'


def test_the_package_is_the_module_or_as_configured() -> None:
    assert schema_of(Counter).service == 'tests.service.test_members.v1.CounterService'
    assert schema_of(Counter).file.name == 'tests/service/test_members/v1/test_members.proto'
    assert schema_of(Configured).package == 'shop.my_counters.v1'
    assert schema_of(Configured, package='other').package == 'other.v1'


def test_the_main_module_is_called_main() -> None:
    made = type('Made', (Actor,), {'__module__': '__main__'})
    assert schema_of(made).package == 'main.v1'


def test_a_schema_is_made_once() -> None:
    assert schema_of(Counter) is schema_of(Counter)


def test_a_class_whose_pins_clash_loses_only_the_method() -> None:
    def call(
        self: Any, a: typing.Annotated[int, field(1)], b: typing.Annotated[int, field(1)]
    ) -> None: ...

    assert 'pinned' in schema(call).unmapped['call']


def test_a_failing_method_leaves_nothing_of_its_messages_behind() -> None:
    def call(self: Any, point: Point, wrong: complex) -> None: ...
    def other(self: Any, boxes: list[list[Point]]) -> None: ...

    made = schema(call, other=other)
    assert set(made.unmapped) == {'call'}
    assert made.methods['Other'].read_request(
        transfer(made.methods['Other'].write_request(([[Point(1)]],)))
    ) == ((), {'boxes': [[Point(1)]]})


PEP_695 = """
from tests.support import Actor
from dataclasses import dataclass
from typing import Literal

type Mode = Literal['r', 'w']
type Many[T] = list[T] | None
type Either = int | Mode

@dataclass
class Cell[T]:
    value: T

class Base[T](Actor):
    def put(self, cell: Cell[T], mode: Mode = 'r', many: Many[T] = None) -> Either: ...

class Sheet(Base[int]):
    def own[U: int](self, x: U) -> int: ...
"""


@needs_3_12
@pytest.mark.parametrize('future', ['', 'from __future__ import annotations\n'])
def test_pep_695(future: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType('sheets')
    monkeypatch.setitem(sys.modules, 'sheets', module)
    namespace = vars(module)
    exec(future + PEP_695, namespace)
    made = schema_of(namespace['Sheet'])
    assert set(made.unmapped) == {'own'}
    put = made.methods['Put']
    values = {'cell': namespace['Cell'](1), 'mode': 'w', 'many': [1]}
    assert put.read_request(transfer(put.write_request((), values))) == ((), values)
    assert {'Mode', 'IntCell'} <= {
        *(each.name for each in made.file.message_type),
        *(each.name for each in made.file.enum_type),
    }
    assert put.read_response(put.write_response('w')) == 'w'


def test_self_is_a_handle_and_in_a_dataclass_the_class() -> None:
    def call(self: Any, tree: Tree) -> Self | None: ...  # type: ignore[misc]

    made = schema(call)
    assert not made.unmapped
    fields = made.message_class('CallResponse').DESCRIPTOR.fields_by_name
    assert fields['result'].message_type.full_name == 'uactor.v1.Handle'
    tree = Tree([Tree()])
    message = made.methods['Call'].write_request((tree,))
    assert made.methods['Call'].read_request(transfer(message)) == ((), {'tree': tree})


@dataclasses.dataclass
class Broken:
    """Has no form."""

    number: complex


def test_self_is_a_handle_after_a_class_that_has_no_form() -> None:
    def first(self: Any, value: Broken) -> None: ...

    def second(self: Any) -> Self: ...  # type: ignore[misc]

    made = schema(first, 'first', second=second)
    assert set(made.unmapped) == {'first'}
    fields = made.message_class('SecondResponse').DESCRIPTOR.fields_by_name
    assert fields['result'].message_type.full_name == 'uactor.v1.Handle'
