"""Rows of the mapping table that need numpy, attrs or pydantic; without them they are skipped."""

# The annotations under test are written in all ways.
# ruff: noqa: UP007

from __future__ import annotations

from typing import Annotated, Any, Generic, TypeVar, Union

import pytest

from tests.service.buf import buf, write
from tests.service.support import (
    back,
    echo,
    from_json,
    reason_unmapped,
    schema,
    there,
    to_json,
    transfer,
)
from uactor.service.errors import ConversionError, ResultConversionError
from uactor.service.mapping.markers import UInt64

pytestmark = pytest.mark.quick

T = TypeVar('T')


# --- numpy ---------------------------------------------------------------------------------------


def test_arrays_come_through_whole() -> None:
    numpy = pytest.importorskip('numpy')
    method = echo(numpy.ndarray)
    arrays = [
        numpy.arange(6, dtype='<i4').reshape(2, 3),
        numpy.arange(6).reshape(2, 3).T,
        numpy.array(3.5),
        numpy.zeros((0, 3)),
        numpy.array(['a', 'bcd']),
        numpy.array([True, False]),
        numpy.array([1, 2], dtype='>f4'),
        numpy.array(['2024-01-01'], dtype='datetime64[ns]'),
        numpy.array([1 + 2j]),
    ]
    for array in arrays:
        for got in (there(method, array), back(method, array)):
            numpy.testing.assert_array_equal(got, array)
            assert got.dtype == array.dtype
            assert got.shape == array.shape
            assert got.flags.writeable


def test_arrays_in_json() -> None:
    numpy = pytest.importorskip('numpy')
    method = echo(numpy.ndarray)
    message = method.write_request((numpy.array([1, 2], dtype='<u1'),))
    data = {'value': {'dtype': '|u1', 'shape': ['2'], 'data': 'AQI='}}
    assert to_json(message) == data
    assert from_json(method, data)['value'].tolist() == [1, 2]


def test_arrays_that_have_no_form_are_errors() -> None:
    numpy = pytest.importorskip('numpy')
    method = echo(numpy.ndarray)
    wrong = [
        numpy.array([object()]),
        numpy.zeros(1, dtype=[('a', int)]),
        numpy.ma.masked_array([1], [True]),
        [1],
        numpy.float64(1),
    ]
    for value in wrong:
        with pytest.raises(ResultConversionError):
            method.write_response(value)
    for data in (
        {'dtype': 'O', 'data': 'AAAAAAAAAAA='},
        {'dtype': '?!', 'data': 'AA=='},
        {'dtype': '<f8', 'shape': [2], 'data': 'AA=='},
        {'dtype': '|u1', 'shape': [-1], 'data': 'AQI='},
        {'dtype': '|u1', 'shape': [5], 'data': 'AQI='},
        {},
    ):
        with pytest.raises(ConversionError) as error:
            from_json(method, {'value': data})
        assert error.value.path == 'value'


def test_elements_are_as_annotated() -> None:
    numpy = pytest.importorskip('numpy')
    typing = pytest.importorskip('numpy.typing')
    method = echo(typing.NDArray[numpy.float32])
    assert there(method, numpy.zeros(2, 'f4')).dtype == 'f4'
    with pytest.raises(ResultConversionError):
        method.write_response(numpy.zeros(2))
    wide = echo(numpy.ndarray).write_request((numpy.zeros(2),)).SerializeToString()
    with pytest.raises(ConversionError):
        method.read_request(method.request_class.FromString(wide))
    either = echo(Union[typing.NDArray[numpy.int64], list[int], None])
    assert there(either, numpy.zeros(2, 'i8')).dtype == 'i8'
    assert there(either, [1]) == [1]


def test_numbers_of_numpy_are_numbers() -> None:
    numpy = pytest.importorskip('numpy')
    assert back(echo(int), numpy.int64(3)) == 3
    assert back(echo(float), numpy.float64(0.5)) == 0.5
    with pytest.raises(ResultConversionError):
        echo(int).write_response(numpy.float64(3))


@pytest.mark.processes
def test_the_file_of_arrays_passes_buf(tmp_path: Any) -> None:
    numpy = pytest.importorskip('numpy')

    def call(self: Any, value: Any) -> None: ...

    call.__annotations__['value'] = numpy.ndarray
    write(schema(call), tmp_path)
    assert buf('lint', folder=tmp_path) == ''
    assert buf('format', '--diff', folder=tmp_path) == ''


# --- attrs ---------------------------------------------------------------------------------------


def test_attrs_classes() -> None:
    attrs = pytest.importorskip('attrs')

    @attrs.define
    class Base:
        x: int = attrs.field(validator=attrs.validators.ge(0))

    @attrs.frozen
    class Item(Base, Generic[T]):
        _secret: Annotated[int, UInt64]
        value: T | None = None
        tags: list[str] = attrs.field(factory=list)
        made: int = attrs.field(init=False, default=5)

    _with_names(Base, Item)
    hint = Item[str]
    made: Any = Item
    method = echo(hint)
    item = made(1, 2, 'a', ['b'])
    for got in (there(method, item), back(method, item)):
        assert got == item
        assert type(got) is Item
    data = {'x': '1', 'secret': '2', 'value': 'a', 'tags': ['b'], 'made': '5'}
    assert to_json(method.write_request((item,))) == {'value': data}
    assert from_json(method, {'value': {'x': 1, 'secret': 2}})['value'] == made(1, 2)
    with pytest.raises(ConversionError, match='x'):
        from_json(method, {'value': {'x': -1, 'secret': 2}})


def _with_names(*classes: type) -> None:
    """Let string annotations of local classes be resolved."""
    for cls in classes:
        for name, hint in vars(cls)['__annotations__'].items():
            if isinstance(hint, str):
                cls.__annotations__[name] = eval(hint, globals())


# --- pydantic ------------------------------------------------------------------------------------

PYDANTIC = """
from typing import Annotated, Generic, Optional, TypeVar
import pydantic
from uactor.service.mapping.markers import UInt64

T = TypeVar('T')

class Base(pydantic.BaseModel):
    x: Annotated[int, pydantic.Field(ge=0)]

class Item(Base):
    model_config = pydantic.ConfigDict(extra='allow')
    big: Annotated[int, UInt64] = 1
    from_: str = pydantic.Field('here', alias='from')
    tags: list[str] = pydantic.Field(default_factory=list)
    note: Optional[str] = 'none'

class Box(pydantic.BaseModel, Generic[T]):
    item: T
    more: list[T] = []
"""


@pytest.fixture
def models() -> Any:
    pytest.importorskip('pydantic')
    import sys
    import types

    module = types.ModuleType('pydantic_models')
    sys.modules['pydantic_models'] = module
    exec(PYDANTIC, vars(module))
    yield module
    del sys.modules['pydantic_models']


def test_pydantic_models(models: Any) -> None:
    method = echo(models.Item)
    item = models.Item.model_validate(
        {'x': 1, 'big': 2**63, 'from': 'there', 'tags': ['a'], 'note': None}
    )
    for got in (there(method, item), back(method, item)):
        assert got == item
        assert type(got) is models.Item
    assert to_json(method.write_request((item,)))['value'] == {
        'x': '1',
        'big': str(2**63),
        'from': 'there',
        'tags': ['a'],
        'note': {},
    }
    assert from_json(method, {'value': {'x': 1}})['value'] == models.Item(x=1)


def test_a_value_that_pydantic_refuses_is_a_conversion_error(models: Any) -> None:
    with pytest.raises(ConversionError, match='greater than or equal to 0') as error:
        from_json(echo(models.Item), {'value': {'x': -1}})
    assert error.value.path == 'value'


def test_extra_fields_of_pydantic_are_not_dropped(models: Any) -> None:
    with pytest.raises(ResultConversionError, match='extra'):
        echo(models.Item).write_response(models.Item(x=1, more=2))


def test_generic_pydantic_models(models: Any) -> None:
    method = echo(models.Box[int])
    value = models.Box[int](item=1, more=[2])
    assert there(method, value) == value
    assert reason_unmapped(models.Box)
    assert transfer(method.write_request((value,))).value.item == 1
