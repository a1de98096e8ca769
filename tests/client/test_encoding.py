"""Which requests go the fast way, and that both ways say the same; without a process."""

from __future__ import annotations

from typing import Any

import pytest

from uactor.client.encoding import PLAIN, CallEncoder, Delivery, FastRequest
from uactor.client.holds import Holds
from uactor.codec import fastpath
from uactor.core.addresses import Token
from uactor.core.current_call import CurrentCall
from uactor.v1 import actor_pb2 as pb


class Channel:
    """A session without memory and definitions, as encoders need it."""

    by_value = True
    memory = None
    definitions = None

    def __init__(self, serializer: str = 'cloudpickle') -> None:
        self.serializer = serializer


class Waits:
    """Nobody has given the outer call up."""

    is_cancelled = False


class Pointer:
    """Is a proxy, as far as messages know."""

    _token = Token('actor', 'unix:/b', 'b.1')


OUTER = CurrentCall('client', Waits(), path=('1/2 A.f',))


def encoder(*pending: str) -> CallEncoder:
    """Return an encoder of a connection that has releases to send."""
    holds = Holds(lambda: None)
    holds.pending.extend(pending)
    return CallEncoder('unix:/a', holds)


def message_of(request: FastRequest | pb.SessionRequest) -> pb.SessionRequest:
    """Return a request with a number, as the host reads it."""
    if not isinstance(request, tuple):
        request.id = 1
        return request
    return pb.SessionRequest.FromString(fastpath.encode_request(1, *request))


@pytest.mark.parametrize(
    ('serializer', 'pending', 'delivery', 'is_fast'),
    [
        ('cloudpickle', (), PLAIN, True),
        ('pickle', (), PLAIN, True),
        ('native', (), PLAIN, False),
        ('cloudpickle', ('a.1',), PLAIN, False),
        ('cloudpickle', (), Delivery(timeout=1.0), False),
        ('cloudpickle', (), Delivery(outer=OUTER), False),
        ('cloudpickle', (), Delivery(window=4), False),
    ],
)
def test_only_plain_requests_go_the_fast_way(
    serializer: str, pending: tuple[str, ...], delivery: Delivery, is_fast: bool
) -> None:
    calls, channel = encoder(*pending), Channel(serializer)
    assert calls.is_fast(serializer, delivery) == is_fast
    call = calls.encode_call('a.1', 'f', (1,), {}, channel, delivery)
    read = calls.encode_get('a.1', 'x', channel, delivery)
    assert [isinstance(request, tuple) for request in (call, read)] == [is_fast] * 2


@pytest.mark.parametrize(
    ('args', 'kwargs'),
    [((), {}), ((1, None), {}), ((1, 2, 3, 4), {}), (('x',), {'by': 2}), (([1],), {})],
    ids=repr,
)
def test_a_call_with_small_arguments_goes_the_fast_way(
    args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    request = encoder().encode_call('a.1', 'f', args, kwargs, Channel())
    assert isinstance(request, tuple)
    call = message_of(request).call
    assert (call.handle, call.method, call.accept_pickle) == ('a.1', 'f', True)


def test_a_call_with_a_large_argument_is_encoded_by_protobuf() -> None:
    request = encoder().encode_call('a.1', 'f', (bytes(1 << 20),), {}, Channel())
    assert isinstance(request, pb.SessionRequest)


def test_both_ways_say_the_same() -> None:
    arguments = (1, 2, 3, 4), {'by': 2}
    fast = message_of(encoder().encode_call('a.1', 'f', *arguments, Channel()))
    slow = message_of(encoder('a.2').encode_call('a.1', 'f', *arguments, Channel()))
    assert fast == slow
    fast = message_of(encoder().encode_get('a.1', 'x', Channel(), PLAIN))
    slow = message_of(encoder('a.2').encode_get('a.1', 'x', Channel(), PLAIN))
    assert fast == slow


def test_a_request_says_how_long_and_for_which_call_it_is_made() -> None:
    delivery = Delivery(timeout=1.5, outer=OUTER, window=4)
    request = message_of(encoder().encode_call('a.1', 'f', (), {}, Channel(), delivery))
    assert request.open_stream.credit == 4
    context = request.open_stream.call.context
    assert (context.timeout.ToNanoseconds(), list(context.path)) == (1_500_000_000, [*OUTER.path])


def test_native_values_and_proxies_travel_without_pickles() -> None:
    channel = Channel('native')
    request = message_of(encoder().encode_call('a.1', 'f', (1, Pointer()), {}, channel))
    number, proxy = request.call.args
    assert (number.int64, proxy.handle.address) == (1, 'unix:/b')
    assert not request.call.accept_pickle
    written = message_of(encoder().encode_set('a.1', 'x', Pointer(), channel, PLAIN)).set_attribute
    assert (written.name, written.value.handle.id) == ('x', 'b.1')
    made = message_of(encoder().encode_create('list', (1,), {'by': 2}, channel, PLAIN))
    create = made.create_handle
    assert (create.typeid, create.args[0].int64, create.kwargs['by'].int64) == ('list', 1, 2)
