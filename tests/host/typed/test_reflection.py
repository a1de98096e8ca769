"""Tools see the typed service by reflection, in both versions, with its comments."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.host.typed.shop import Shop
from tests.support.rpc import client_of, get_dial_address
from tests.support.terminal import HEADER, BufCurl, Grpcurl

pytestmark = [pytest.mark.pythons('annotations'), pytest.mark.oldest_python]

PACKAGE = 'tests.host.typed.shop.v1'
SERVICE = f'{PACKAGE}.ShopService'


@pytest.fixture(scope='module')
def shop() -> Iterator[Any]:
    with Shop() as actor:
        yield actor


@pytest.fixture
def grpcurl(shop: Any) -> Grpcurl:
    return Grpcurl(get_dial_address(shop), SERVICE)


def describe(grpcurl: Grpcurl, symbol: str) -> str:
    done = grpcurl.run('describe', symbol)
    assert (done.returncode, done.stderr) == (0, '')
    return done.stdout


def test_grpcurl_lists_the_service_and_its_methods(grpcurl: Grpcurl) -> None:
    assert SERVICE in grpcurl.run('list').stdout.split()
    listed = grpcurl.run('list', SERVICE).stdout.split()
    assert {f'{SERVICE}.{rpc}' for rpc in ('Add', 'GetOwner', 'SetOwner', 'Upload')} <= {*listed}


def test_grpcurl_describes_service_method_message_and_enum(grpcurl: Grpcurl) -> None:
    service = describe(grpcurl, SERVICE)
    assert '// Sells articles.' in service
    assert "//   untyped: parameter 'number': it has no annotation" in service
    assert '  // What the sign says.\n  rpc GetLabel (' in service
    assert (
        'rpc Upload ( stream .tests.host.typed.shop.v1.UploadRequest ) returns ( stream' in service
    )
    assert 'rpc Add ( .tests.host.typed.shop.v1.AddRequest )' in describe(grpcurl, f'{SERVICE}.Add')
    request = describe(grpcurl, f'{PACKAGE}.AddRequest')
    assert '  // how far.\n  optional int64 by = 1;' in request
    article = describe(grpcurl, f'{PACKAGE}.Article')
    assert '// Something to buy.' in article
    assert '  // what it is called.\n  optional string name = 1;' in article
    assert 'KIND_UNSPECIFIED = 0;' in describe(grpcurl, f'{PACKAGE}.Kind')
    assert 'oneof what {' in describe(grpcurl, f'{PACKAGE}.SellRequest')
    assert 'message Handle' in describe(grpcurl, 'uactor.v1.Handle')
    assert '// Handle names an object' in describe(grpcurl, 'uactor.v1.Handle')
    assert 'message Struct' in describe(grpcurl, 'google.protobuf.Struct')


@pytest.mark.parametrize('version', ['grpc-v1', 'grpc-v1alpha'])
def test_buf_curl_lists_and_calls_with_both_versions(shop: Any, version: str) -> None:
    curl = BufCurl(get_dial_address(shop), SERVICE)
    reflection = ('--reflect-header', HEADER, '--reflect-protocol', version)
    assert SERVICE in curl.run('', '--list-services', *reflection).stdout.split()
    assert f'{SERVICE}/Add' in curl.run('', '--list-methods', *reflection).stdout
    article = {'name': 'a', 'kind': 'KIND_TOY'}
    assert curl.rpc('Stock', version, article=article)['result'][-1] == article
    assert curl.rpc('Size', version, basket=curl.rpc('Basket', version)['result']) == {
        'result': '0'
    }


def test_health_answers_for_the_typed_service(shop: Any) -> None:
    grpcurl = Grpcurl(get_dial_address(shop), 'grpc.health.v1.Health')
    assert grpcurl.rpc('Check', service=SERVICE) == {'status': 'SERVING'}


def test_describe_tells_of_the_typed_service(shop: Any) -> None:
    with client_of(get_dial_address(shop)) as client:
        found = client.rpc('Describe')
        basket = client.rpc('CreateHandle', typeid='list').handle
        of_basket = client.rpc('Describe', handle=basket.id)
    assert found.handle.service == found.typed_service.name == SERVICE
    assert not found.typed_service.locked
    assert [member.name for member in found.typed_service.unmapped] == ['untyped']
    rpcs = {method.name: method.rpc for method in found.methods}
    assert (rpcs['add'], rpcs['upload'], rpcs['untyped']) == ('Add', 'Upload', '')
    attributes = {each.name: (each.type, each.get_rpc, each.set_rpc) for each in found.attributes}
    assert attributes == {
        'complete': ('bool', 'GetComplete', 'SetComplete'),
        'label': ('str', 'GetLabel', ''),
        'limit': ('int', 'GetLimit', 'SetLimit'),
        'owner': ('str', 'GetOwner', 'SetOwner'),
    }
    assert not of_basket.HasField('typed_service')
