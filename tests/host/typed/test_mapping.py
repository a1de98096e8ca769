"""The mapping table against an actor that runs: JSON through grpcurl, and messages from Python."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf import json_format

from tests.host.typed.support import Typed, create_typed_client
from tests.host.typed.table import ROWS, Table
from tests.service.support import to_json
from tests.support.rpc import get_dial_address
from tests.support.terminal import Grpcurl

pytestmark = [pytest.mark.pythons('annotations'), pytest.mark.oldest_python]


@pytest.fixture(scope='module')
def table() -> Iterator[Any]:
    with Table() as actor:
        yield actor


@pytest.fixture
def client(table: Any) -> Iterator[Typed]:
    with create_typed_client(table, Table) as client:
        yield client


every_row = pytest.mark.parametrize(
    ('rpc', 'value'), [(f'Row{index}', value) for index, (_, value) in enumerate(ROWS)]
)


def test_every_row_is_in_the_service(client: Typed) -> None:
    assert not client.schema.unmapped
    assert len(client.schema.methods) == len(ROWS)


@every_row
def test_a_value_goes_there_and_comes_back(client: Typed, rpc: str, value: Any) -> None:
    back = client.call(rpc, value)
    assert back == value
    assert type(back) is type(value)


# grpcurl sends a null in a list or map of google.protobuf.Value as one that holds nothing.
@pytest.mark.parametrize(
    ('rpc', 'value'),
    [
        pytest.param(f'Row{index}', value, marks=[pytest.mark.full] if index % 4 else [])
        for index, (hint, value) in enumerate(ROWS)
        if hint not in (list[Any], dict[int, Any])
    ],
)
def test_grpcurl_sends_and_shows_it_as_json(
    client: Typed, table: Any, rpc: str, value: Any
) -> None:
    method = client.schema.methods[rpc]
    request = to_json(method.write_request((value,)))
    shown = Grpcurl(get_dial_address(table), client.schema.service).rpc(rpc, **request)
    assert shown == json_format.MessageToDict(method.write_response(value))
