"""Usual messages: by hand as by Protobuf."""

from __future__ import annotations

import pickle
import signal
from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from uactor.codec import fastpath, values
from uactor.transport.outbox import Outbox, coalesce
from uactor.v1 import actor_pb2 as pb

pytestmark = pytest.mark.quick

_EDGES = [edge for bits in (7, 14, 21, 22, 28, 35) for edge in (2**bits - 1, 2**bits)]
numbers = st.integers(1, 2**21 - 1) | st.sampled_from(_EDGES)
small = st.integers(0, 2**14 - 1)
texts = st.text(st.characters(exclude_categories=['Cs']), max_size=300)
scalars = st.one_of(
    *(st.none(), st.booleans(), small, st.integers(-(2**63), 2**63 - 1)),
    st.floats(allow_nan=False),
    texts,
    st.binary(max_size=300),
)


short = st.one_of(st.none(), st.booleans(), small, st.floats(allow_nan=False))
arguments = st.one_of(st.lists(short, max_size=3).map(tuple), st.binary(max_size=300))
"""A few short scalars, or a pickle of arguments."""


def call(
    number: int, handle: str, method: str, arguments: tuple[Any, ...] | bytes
) -> pb.SessionRequest:
    request = pb.SessionRequest(id=number)
    request.call.handle, request.call.method = handle, method
    request.call.accept_pickle = True
    if isinstance(arguments, bytes):
        request.call.arguments.data = arguments
    else:
        for value in arguments:
            assert values.put_scalar(request.call.args.add(), value)
    return request


def write_request(
    number: int, handle: str, method: str, arguments: tuple[Any, ...] | bytes
) -> bytes:
    """Return a request that is written by hand."""
    if isinstance(arguments, bytes):
        form = fastpath.encode_pickle(arguments)
    else:
        found = fastpath.encode_scalars(arguments)
        assert found is not None
        form = found
    return fastpath.encode_request(number, fastpath.encode_target(handle, method), form)


def answer(number: int, value: Any) -> pb.SessionResponse:
    response = pb.SessionResponse(id=number)
    values.put(response.result, value)
    return response


def read_request(message: bytes | bytearray) -> tuple[int, str, str, Any] | None:
    """Return what is read of a request by hand, as a host does."""
    found = fastpath.decode_request(message)
    if found is None or isinstance(found[3], tuple):
        return found
    number, handle, method, data = found
    return number, handle, method, bytes(data)


@st.composite
def damage(draw: st.DrawFn, messages: st.SearchStrategy[bytes]) -> bytes:
    """Messages of which some bytes are others, or missing, or too many."""
    message = bytearray(draw(messages))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(message)))
        message[at : at + draw(st.integers(0, 2))] = draw(st.binary(max_size=2))
    return bytes(message)


# --- messages in messages ------------------------------------------------------------------------

MORE = pb.SessionRequest.MORE_FIELD_NUMBER


def gather(messages: list[bytes]) -> bytes:
    outbox: Outbox[bytes] = Outbox()
    for message in messages:
        outbox.put(message)
    (message,) = coalesce(outbox, MORE)
    return message


requests = st.one_of(
    st.builds(write_request, numbers, st.just('a.0'), st.just('add'), arguments),
    st.builds(
        lambda number, name: pb.SessionRequest(
            id=number, get_attribute=pb.GetAttributeRequest(name=name)
        ).SerializeToString(),
        numbers,
        texts,
    ),
    st.builds(
        lambda number, name, data: pb.SessionRequest(
            id=number,
            call_all=pb.CallAllRequest(method=name, arguments=pb.Pickle(data=data), count=3),
        ).SerializeToString(),
        numbers,
        texts,
        st.binary(max_size=300),
    ),
)


@given(st.lists(requests, min_size=1, max_size=10))
def test_messages_that_travel_as_one_are_found_by_hand(messages: list[bytes]) -> None:
    assert fastpath.split_coalesced(gather(messages), MORE) == messages


@given(damage(st.builds(gather, st.lists(requests, min_size=1, max_size=3))))
def test_messages_that_are_found_by_hand_are_those_that_protobuf_finds(message: bytes) -> None:
    found = fastpath.split_coalesced(message, MORE)
    if found is None:
        return
    try:
        first, *more = map(pb.SessionRequest.FromString, found)
    except DecodeError:
        with pytest.raises(DecodeError):
            pb.SessionRequest.FromString(message)
    else:
        first.more.extend(more)
        assert pb.SessionRequest.FromString(message) == first


@pytest.mark.parametrize(
    'message',
    [
        pb.SessionRequest(releases=['x']),
        pb.SessionRequest(id=1, releases=['x'], call=pb.CallRequest(method='add')),
        pb.SessionRequest(cancel=pb.Cancel(request_id=3), more=[pb.SessionRequest(id=4)]),
    ],
    ids=['no number', 'releases', 'no number in the first'],
)
def test_where_messages_begin_is_otherwise_left_to_protobuf(message: pb.SessionRequest) -> None:
    assert fastpath.split_coalesced(message.SerializeToString(), MORE) is None


def test_a_message_that_ends_before_it_has_what_it_says_is_left_to_protobuf() -> None:
    last = pb.SessionRequest(id=2, releases=['x']).SerializeToString()
    message = gather([write_request(1, 'a.0', 'add', (1,)), last])
    for missing in range(1, len(last) + 1):
        assert fastpath.split_coalesced(message[:-missing], MORE) is None


@pytest.mark.parametrize('limit', [5000, 2000, 1024, 500])
def test_messages_travel_as_one_only_as_far_as_the_receiver_takes_it(limit: int) -> None:
    outbox, target = Outbox[bytes](), fastpath.encode_target('a.0', 'x' * 400)
    messages = [fastpath.encode_request(number, target, b'') for number in range(1, 21)]
    for message in messages:
        outbox.put(message)
    sent = [message for message in coalesce(outbox, MORE, limit) if isinstance(message, bytes)]
    assert max(map(len, sent)) <= limit
    assert [
        part for message in sent for part in fastpath.split_coalesced(message, MORE) or ()
    ] == messages


LONGEST, TOO_LONG = b'\x80' * 9 + b'\x00', b'\x80' * 10 + b'\x00'
"""The same number in ten bytes, as many as Protobuf takes, and in one more."""


def test_a_number_of_more_bytes_than_protobuf_takes_is_left_to_it() -> None:
    scalar, target = fastpath.encode_scalars([1]), fastpath.encode_target('a.0', 'add')
    assert scalar is not None
    call = bytes([0x2A, len(scalar + target)]) + scalar + target
    assert fastpath.decode_request(b'\x08' + LONGEST + call) == (0, 'a.0', 'add', (1,))
    assert fastpath.decode_result(b'\x08' + LONGEST + scalar) == (0, 1)
    assert fastpath.decode_request(b'\x08' + TOO_LONG + call) is None
    assert fastpath.decode_result(b'\x08' + TOO_LONG + scalar) is None


# --- requests ------------------------------------------------------------------------------------


@given(numbers, texts, texts, st.one_of(arguments, st.binary(max_size=20000)))
def test_a_usual_request_is_what_protobuf_reads(
    number: int, handle: str, method: str, arguments: tuple[Any, ...] | bytes
) -> None:
    message = write_request(number, handle, method, arguments)
    assert pb.SessionRequest.FromString(message) == call(number, handle, method, arguments)


@given(numbers, texts, texts, st.one_of(arguments, st.binary(max_size=20000)))
def test_a_usual_request_is_read_by_hand(
    number: int, handle: str, method: str, arguments: tuple[Any, ...] | bytes
) -> None:
    message = write_request(number, handle, method, arguments)
    for form in (message, bytearray(message)):  # it comes as either
        found = read_request(form)
        assert found == (number, handle, method, arguments)
        assert list(map(type, found[3])) == list(map(type, arguments))


@pytest.mark.parametrize(
    'arguments', [(1, 2, 3, 4), (-1,), (2**14,), ('x',), (b'x',), ([],), (1, signal.SIGINT)]
)
def test_arguments_that_are_many_or_not_short_scalars_are_pickled(arguments: Any) -> None:
    assert fastpath.encode_scalars(arguments) is None


@pytest.mark.parametrize(
    'request_',
    [
        pb.SessionRequest(),
        pb.SessionRequest(id=1),
        pb.SessionRequest(id=1, goodbye=pb.Goodbye()),
        pb.SessionRequest(id=1, releases=['x'], call=pb.CallRequest(method='add')),
        pb.SessionRequest(id=1, call=pb.CallRequest(method='add', typeid='list')),
        pb.SessionRequest(id=1, get_attribute=pb.GetAttributeRequest(name='add')),
        pb.SessionRequest(
            id=1, call=pb.CallRequest(method='add', arguments=pb.Pickle(data=b'x', granted=['y']))
        ),
    ],
    ids=lambda request: str(request).replace('\n', ' '),
)
def test_other_requests_are_left_to_protobuf(request_: pb.SessionRequest) -> None:
    assert read_request(request_.SerializeToString()) is None


def test_a_request_in_another_order_is_left_to_protobuf() -> None:
    request = call(7, 'a.0', 'add', b'data')
    assert read_request(request.SerializeToString(deterministic=True)) is None


def test_a_call_target_in_another_form_is_not_decoded() -> None:
    part = pb.CallRequest(handle='a.0', method='add', typeid='list', accept_pickle=True)
    assert fastpath.decode_target(part.SerializeToString()) is None
    assert fastpath.decode_target(b'\xff\xff') is None


@pytest.mark.parametrize('ends', range(6))
def test_a_message_that_ends_within_a_scalar_is_left_to_protobuf(ends: int) -> None:
    scalar = b'\x1a\x03\x18\xff\x7f'[:ends]
    assert fastpath.decode_request(b'\x08\x01\x2a' + bytes([ends]) + scalar) is None
    found = fastpath.decode_result(b'\x08\x01' + scalar)
    assert found == ((1, 16383) if ends == 5 else None)


def test_a_large_message_is_left_to_protobuf() -> None:
    message = write_request(1, 'a.0', 'add', bytes(2 * fastpath.MAX_DATA_BYTES))
    assert read_request(message) is None


@given(damage(st.builds(write_request, numbers, st.just('a.0'), st.just('add'), arguments)))
def test_the_fast_path_reads_a_request_as_protobuf_does(message: bytes) -> None:
    found = read_request(message)
    if found is not None:
        read = pb.SessionRequest.FromString(message)
        assert read.SerializeToString() == call(*found).SerializeToString()


methods = st.sampled_from(['add', 'a' * 100, 'a' * 120])  # whose numbers take one byte, and two


@given(
    st.lists(
        st.tuples(
            st.booleans(),
            damage(st.builds(write_request, numbers, st.just('a.0'), methods, arguments))
            | st.builds(write_request, numbers, st.just('a.0'), methods, arguments),
        )
    )
)
def test_requests_one_after_the_other_are_read_as_each_by_itself(
    messages: list[tuple[bool, bytes]],
) -> None:
    reader = fastpath.RequestReader()
    for is_array, message in messages:
        found = reader.read(bytearray(message) if is_array else message)
        assert found == fastpath.decode_request(message)


@pytest.mark.parametrize('method', ['add', 'a' * 120])
@pytest.mark.parametrize('value', [0, 127, 128, 16383, None, True, False, 1.5])
def test_a_request_like_the_one_before_is_read(method: str, value: Any) -> None:
    reader = fastpath.RequestReader()
    for number in 1, 2, 200, 3:
        message = write_request(number, 'a.0', method, (value,))
        assert reader.read(message) == (number, 'a.0', method, (value,))
        assert reader.read(write_request(number, 'a.0', method, ())) == (number, 'a.0', method, ())


def test_a_request_whose_argument_ends_like_the_one_before_is_not_taken_for_it() -> None:
    reader = fastpath.RequestReader()
    part = fastpath.encode_target('a.0', 'add')
    assert reader.read(write_request(1, 'a.0', 'add', (1,))) == (1, 'a.0', 'add', (1,))
    for data in part, b'\x1a\x02\x18\x01' + part:
        message = write_request(2, 'a.0', 'other', data)
        assert reader.read(message) == (2, 'a.0', 'other', data)
        swapped = pb.SessionRequest(id=3)
        swapped.call.handle = 'a.0'
        swapped.call.args.add().bytes = data
        assert reader.read(swapped.SerializeToString()) == fastpath.decode_request(
            swapped.SerializeToString()
        )


# --- attributes ----------------------------------------------------------------------------------


def reading(number: int, handle: str, name: str) -> pb.SessionRequest:
    get = pb.GetAttributeRequest(handle=handle, name=name, accept_pickle=True)
    return pb.SessionRequest(id=number, get_attribute=get)


@given(numbers, texts, texts)
def test_a_request_for_an_attribute_is_what_protobuf_reads(
    number: int, handle: str, name: str
) -> None:
    message = fastpath.encode_request(number, fastpath.encode_attribute(handle, name), None)
    assert pb.SessionRequest.FromString(message) == reading(number, handle, name)


@pytest.mark.parametrize('handle', ['', 'a.0'])
def test_a_request_for_an_attribute_is_read_by_hand(handle: str) -> None:
    message = fastpath.encode_request(5, fastpath.encode_attribute(handle, 'level'), None)
    for form in (message, bytearray(message)):  # it comes as either
        assert fastpath.decode_attribute(form) == (5, handle, 'level')


@pytest.mark.parametrize(
    'request_',
    [
        pb.SessionRequest(),
        pb.SessionRequest(id=1, get_attribute=pb.GetAttributeRequest(name='level')),
        pb.SessionRequest(
            id=1,
            get_attribute=pb.GetAttributeRequest(
                name='level', accept_pickle=True, context=pb.CallContext(path=['a/b C.d'])
            ),
        ),
        pb.SessionRequest(
            id=1, releases=['x'], get_attribute=reading(1, '', 'level').get_attribute
        ),
        reading(200, '', 'level'),
        reading(1, '', 'level' * 30),
        call(1, 'a.0', 'add', (1,)),
    ],
    ids=lambda request: str(request).replace('\n', ' ')[:60],
)
def test_other_requests_for_attributes_are_left_to_protobuf(request_: pb.SessionRequest) -> None:
    assert fastpath.decode_attribute(request_.SerializeToString()) is None


@given(damage(st.builds(lambda number: reading(number, 'a.0', 'x').SerializeToString(), numbers)))
def test_the_fast_path_reads_an_attribute_request_as_protobuf_does(message: bytes) -> None:
    found = fastpath.decode_attribute(message)
    if found is not None:
        assert pb.SessionRequest.FromString(message) == reading(*found)


# --- responses -----------------------------------------------------------------------------------


@given(numbers, scalars)
def test_a_usual_response_is_what_protobuf_writes(number: int, value: Any) -> None:
    assert fastpath.encode_result(number, value) == answer(number, value).SerializeToString()


@given(numbers, scalars)
def test_a_usual_response_is_read_by_hand(number: int, value: Any) -> None:
    found = fastpath.decode_result(answer(number, value).SerializeToString())
    assert found == (number, value)
    assert type(found[1]) is type(value)


@given(numbers, st.lists(small))
def test_a_small_pickle_is_read_by_hand(number: int, value: list[int]) -> None:
    found = fastpath.decode_result(answer(number, value).SerializeToString())
    assert found is not None
    assert found[0] == number
    assert isinstance(found[1], fastpath.PickledResult)
    assert pickle.loads(found[1].data) == value


@pytest.mark.parametrize(
    'value',
    [2**63, -(2**63) - 1, 2**70, '\ud800', 'x' * 2 * fastpath.MAX_DATA_BYTES, [], bytearray(b'x')],
)
def test_other_results_are_left_to_protobuf(value: Any) -> None:
    assert fastpath.encode_result(1, value) is None


@pytest.mark.parametrize(
    'response',
    [
        pb.SessionResponse(),
        pb.SessionResponse(id=1),
        pb.SessionResponse(id=1, failure=pb.Failure(message='x')),
        pb.SessionResponse(id=1, result=pb.Value()),
        pb.SessionResponse(id=1, result=pb.Value(handle=pb.Handle(id='x'))),
        pb.SessionResponse(id=1, result=pb.Value(pickle=pb.Pickle(data=b'x', granted=['y']))),
        pb.SessionResponse(id=1, result=pb.Value(int64=1), more=[pb.SessionResponse(id=2)]),
        pb.SessionResponse(id=1, item=pb.Value(int64=1)),
        pb.SessionResponse(id=1, result=pb.Value(bytes=bytes(2 * fastpath.MAX_DATA_BYTES))),
    ],
    ids=lambda response: str(response).replace('\n', ' ')[:60],
)
def test_other_responses_are_left_to_protobuf(response: pb.SessionResponse) -> None:
    assert fastpath.decode_result(response.SerializeToString()) is None


def check_reading(found: tuple[int, Any] | None, message: bytes, place: str) -> None:
    """Check that what was read by hand, if anything, is what Protobuf reads in that place."""
    if found is None:
        return
    number, value = found
    expected = pb.SessionResponse(id=number)
    if isinstance(value, fastpath.PickledResult):
        getattr(expected, place).pickle.data = bytes(value.data)
    else:
        assert values.put_scalar(getattr(expected, place), value)
    try:
        read = pb.SessionResponse.FromString(message)
    except DecodeError:
        pytest.fail('Protobuf does not read it')
    assert read.SerializeToString() == expected.SerializeToString()


@given(damage(st.builds(lambda value: answer(5, value).SerializeToString(), scalars)))
def test_the_fast_path_reads_a_response_as_protobuf_does(message: bytes) -> None:
    check_reading(fastpath.decode_result(message), message, 'result')


# --- items of streams ----------------------------------------------------------------------------


def an_item(number: int, value: Any) -> pb.SessionResponse:
    response = pb.SessionResponse(id=number)
    values.put(response.item, value)
    return response


@given(numbers, scalars)
def test_a_usual_item_is_what_protobuf_writes(number: int, value: Any) -> None:
    assert fastpath.encode_item(number, value) == an_item(number, value).SerializeToString()


@given(numbers, scalars)
def test_a_usual_item_is_read_by_hand(number: int, value: Any) -> None:
    found = fastpath.decode_item(an_item(number, value).SerializeToString())
    assert found == (number, value)
    assert type(found[1]) is type(value)


@given(numbers, st.lists(small))
def test_a_small_pickle_as_an_item_is_read_by_hand(number: int, value: list[int]) -> None:
    found = fastpath.decode_item(an_item(number, value).SerializeToString())
    assert found is not None
    assert found[0] == number
    assert pickle.loads(found[1].data) == value


@pytest.mark.parametrize('value', [2**63, '\ud800', 'x' * 2 * fastpath.MAX_DATA_BYTES, []])
def test_other_items_are_left_to_protobuf(value: Any) -> None:
    assert fastpath.encode_item(1, value) is None


@pytest.mark.parametrize(
    'response',
    [
        pb.SessionResponse(),
        pb.SessionResponse(id=1),
        pb.SessionResponse(id=200),
        pb.SessionResponse(id=1, end=pb.StreamEnd()),
        pb.SessionResponse(id=1, item=pb.Value(handle=pb.Handle(id='x'))),
        pb.SessionResponse(id=1, item=pb.Value(pickle=pb.Pickle(data=b'x', granted=['y']))),
        pb.SessionResponse(id=1, item=pb.Value(bytes=bytes(2 * fastpath.MAX_DATA_BYTES))),
        pb.SessionResponse(id=1, result=pb.Value(int64=1)),
    ],
    ids=lambda response: str(response).replace('\n', ' ')[:60],
)
def test_other_responses_are_no_usual_items(response: pb.SessionResponse) -> None:
    assert fastpath.decode_item(response.SerializeToString()) is None


@given(damage(st.builds(lambda value: an_item(5, value).SerializeToString(), scalars)))
def test_the_fast_path_reads_an_item_as_protobuf_does(message: bytes) -> None:
    check_reading(fastpath.decode_item(message), message, 'item')
