"""Arrays of numpy through the typed service of a running actor."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.host.typed.support import Typed, create_typed_client
from tests.support import Actor
from tests.support.rpc import failing, get_dial_address
from tests.support.terminal import Grpcurl

pytestmark = [pytest.mark.pythons('annotations'), pytest.mark.oldest_python]

numpy = pytest.importorskip('numpy')
pytest.importorskip('numpy.typing')


class Matrix(Actor):
    def double(self, values: numpy.ndarray, /) -> numpy.ndarray:  # type: ignore[name-defined]
        return values * 2

    def total(self, values: numpy.typing.NDArray[numpy.float64]) -> float:  # type: ignore[name-defined]
        return float(values.sum())


@pytest.fixture
def client() -> Iterator[Typed]:
    with Matrix() as actor, create_typed_client(actor, Matrix) as client:
        client.address = get_dial_address(actor)  # type: ignore[attr-defined]
        yield client


def test_an_array_goes_there_and_comes_back(client: Any) -> None:
    values = numpy.arange(6, dtype='<i4').reshape(2, 3)
    back = client.call('Double', values)
    assert (back.dtype, back.shape) == (values.dtype, (2, 3))
    assert (back == values * 2).all()
    with failing('INVALID_ARGUMENT') as failure:
        client.send('Total', {'values': {'dtype': '<f8', 'shape': [3], 'data': bytes(8)}})
    assert failure.fields == ['values']


def test_grpcurl_sends_an_array(client: Any) -> None:
    grpcurl = Grpcurl(client.address, client.schema.service)
    assert not client.schema.unmapped
    array = {'dtype': '|u1', 'shape': [2], 'data': 'AQI='}
    assert grpcurl.rpc('Double', values=array)['result'] == {
        'dtype': '|u1',
        'shape': ['2'],
        'data': 'AgQ=',
    }
