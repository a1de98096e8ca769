"""Before anything is unpickled, both sides prove that they know the authkey."""

from __future__ import annotations

import base64
import contextlib
import functools
import hmac
import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

import uactor
from tests.support import Actor
from uactor.host.grpc.executor import ThreadPerCall
from uactor.v1 import actor_pb2 as pb
from uactor.v1 import actor_pb2_grpc

pytestmark = [pytest.mark.doors]

KEY = b'the key of the actor'


class Trap:
    """Leaves a trace where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def proof(key: bytes, role: bytes, theirs: bytes, ours: bytes) -> bytes:
    """Return the proof that the contract asks for, made without the library."""
    return hmac.digest(key, b'uactor/1 ' + role + theirs + ours, 'sha256')


# --- a client among false actors ------------------------------------------------------------


BaseServicer: Any = actor_pb2_grpc.ActorServiceServicer
"""A base that implements no method: the types demand all of them."""


class FalseActor(BaseServicer):
    """Answers sessions as it likes, and records what it is sent."""

    def __init__(self, answers: Callable[[pb.SessionRequest], pb.SessionResponse]) -> None:
        self._answers = answers
        self.requests: list[pb.SessionRequest] = []
        self.metadata: list[tuple[str, Any]] = []

    def Session(  # noqa: N802  # the name of the RPC
        self, requests: Any, context: Any
    ) -> Iterator[pb.SessionResponse]:
        self.metadata += context.invocation_metadata()
        for request in requests:
            self.requests.append(request)
            if request.WhichOneof('kind') not in ('proof', 'goodbye', None):
                response = self._answers(request)
                response.id = request.id
                yield response


@contextlib.contextmanager
def listening(actor: FalseActor) -> Iterator[str]:
    """Serve a false actor, and return its address."""
    server = grpc.server(ThreadPerCall())  # type: ignore[arg-type]  # any Executor will do
    actor_pb2_grpc.add_ActorServiceServicer_to_server(actor, server)
    port = server.add_insecure_port('127.0.0.1:0')
    server.start()
    try:
        yield f'127.0.0.1:{port}'
    finally:
        server.stop(None).wait()


def welcome(request: pb.SessionRequest, key: bytes) -> pb.Welcome:
    nonce = b'sixteen bytes...'
    return pb.Welcome(
        protocol_version=1,
        python_version=request.hello.python_version,
        cloudpickle_version=request.hello.cloudpickle_version,
        proof=proof(key, b'host', request.hello.nonce, nonce),
        nonce=nonce,
        actor=pb.Handle(id='1.0', typeid='actor'),
        serializer='cloudpickle',
    )


def with_pickle(trap: Trap) -> list[pb.SessionResponse]:
    """Return all responses that can carry a pickle, with a trap in it."""
    data = pb.Pickle(data=pickle.dumps(trap))
    return [
        pb.SessionResponse(result=pb.Value(pickle=data)),
        pb.SessionResponse(failure=pb.Failure(type_name='ValueError', pickle=data)),
    ]


@pytest.mark.parametrize('index', [0, 1])
def test_no_pickle_is_loaded_instead_of_a_welcome(tmp_path: Path, index: int) -> None:
    trap = Trap(tmp_path / 'trap')
    with (
        listening(FalseActor(lambda request: with_pickle(trap)[index])) as address,
        pytest.raises(uactor.AuthkeyError),
    ):
        uactor.Actor.connect(address, KEY)
    assert not trap.path.exists()


@pytest.mark.parametrize('index', [0, 1])
def test_no_pickle_is_loaded_after_a_welcome_with_a_wrong_proof(tmp_path: Path, index: int) -> None:
    trap = Trap(tmp_path / 'trap')

    def answers(request: pb.SessionRequest) -> pb.SessionResponse:
        if request.HasField('hello'):
            return pb.SessionResponse(welcome=welcome(request, b'another key'))
        return with_pickle(trap)[index]

    actor = FalseActor(answers)
    with listening(actor) as address, pytest.raises(uactor.AuthkeyError, match='another authkey'):
        uactor.Actor.connect(address, KEY).shutdown()
    assert not trap.path.exists()
    assert {request.WhichOneof('kind') for request in actor.requests} <= {'hello'}


def test_the_host_does_not_prove_itself_with_the_clients_own_words() -> None:
    """The proof of a client can't be handed back to it as that of the host."""

    def answers(request: pb.SessionRequest) -> pb.SessionResponse:
        answer = welcome(request, KEY)
        answer.proof = proof(KEY, b'client', request.hello.nonce, answer.nonce)
        return pb.SessionResponse(welcome=answer)

    with listening(FalseActor(answers)) as address, pytest.raises(uactor.AuthkeyError):
        uactor.Actor.connect(address, KEY)


def test_an_authkey_never_travels_in_a_python_session() -> None:
    def answers(request: pb.SessionRequest) -> pb.SessionResponse:
        if request.HasField('hello'):
            return pb.SessionResponse(welcome=welcome(request, KEY))
        return pb.SessionResponse(result=pb.Value(int64=42))

    actor = FalseActor(answers)
    with listening(actor) as address:
        connected: Any = uactor.Actor.connect(address, KEY)
        assert connected._callmethod('method', ('argument',)) == 42
        kinds = [request.WhichOneof('kind') for request in actor.requests]
        assert kinds == ['hello', 'proof', 'call']
        connected._manager.connection.link.close(5.0)
    everything = repr(actor.metadata).encode() + b''.join(
        request.SerializeToString() for request in actor.requests
    )
    for form in (KEY, base64.b64encode(KEY)[:-4], base64.urlsafe_b64encode(KEY)[:-4]):
        assert form not in everything
    assert 'authorization' not in dict(actor.metadata)


@pytest.mark.parametrize('version', [0, 9])
def test_an_actor_of_another_protocol_is_refused(version: int) -> None:
    def answers(request: pb.SessionRequest) -> pb.SessionResponse:
        answer = welcome(request, KEY)
        answer.protocol_version = version
        return pb.SessionResponse(welcome=answer)

    with (
        listening(FalseActor(answers)) as address,
        pytest.raises(uactor.VersionError, match=f'speaks protocol {version}, this process 1'),
    ):
        uactor.Actor.connect(address, KEY)


# --- an actor among false clients -----------------------------------------------------------


class Target(Actor):
    _options_ = {'authkey': KEY}

    def take(self, value: Any) -> Any:
        return value


@pytest.fixture(scope='module')
def target() -> Iterator[Any]:
    with Target() as actor:
        yield actor


@pytest.fixture
def stub(target: Any) -> Iterator[actor_pb2_grpc.ActorServiceStub]:
    options = [('grpc.default_authority', 'localhost')]
    with grpc.insecure_channel(target._token.target, options) as channel:
        yield actor_pb2_grpc.ActorServiceStub(channel)


def call(trap: Trap) -> pb.CallRequest:
    data = pickle.dumps(((trap,), {}))
    return pb.CallRequest(method='take', arguments=pb.Pickle(data=data), accept_pickle=True)


HELLO = pb.SessionRequest(id=1, hello=pb.Hello(protocol_version=1, client_id='c', nonce=b'n'))


def get_refusal(exchange: Callable[[], Any]) -> grpc.StatusCode:
    with pytest.raises(grpc.RpcError) as caught:
        exchange()
    code = caught.value.code()
    assert isinstance(code, grpc.StatusCode)
    return code


def begin(
    stub: actor_pb2_grpc.ActorServiceStub, requests: list[pb.SessionRequest]
) -> list[pb.SessionResponse]:
    """Send the first requests of a session, and return the responses."""
    return list(stub.Session(iter(requests)))


def test_an_actor_loads_no_pickle_of_a_client_without_the_key(
    stub: actor_pb2_grpc.ActorServiceStub, tmp_path: Path
) -> None:
    trap = Trap(tmp_path / 'trap')
    attack = pb.SessionRequest(id=2, call=call(trap))
    forged = pb.SessionRequest(proof=pb.Proof(proof=proof(b'guessed', b'client', b'n', b'n')))
    empty = pb.SessionRequest(proof=pb.Proof())
    unauthenticated = grpc.StatusCode.UNAUTHENTICATED
    for messages in ([HELLO, attack], [HELLO, forged, attack], [HELLO, empty, attack]):
        assert get_refusal(functools.partial(begin, stub, messages)) is unauthenticated
    assert get_refusal(lambda: stub.Call(call(trap))) is unauthenticated
    wrong = uactor.call_metadata(b'guessed')
    assert get_refusal(lambda: stub.Call(call(trap), metadata=wrong)) is unauthenticated
    assert not trap.path.exists()


def test_a_session_begins_with_hello(stub: actor_pb2_grpc.ActorServiceStub, tmp_path: Path) -> None:
    trap = Trap(tmp_path / 'trap')
    attack = pb.SessionRequest(id=1, call=call(trap))
    code = get_refusal(lambda: list(stub.Session(iter([attack]))))
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert not trap.path.exists()


def test_a_client_that_knows_the_key_may_send_pickles(
    stub: actor_pb2_grpc.ActorServiceStub, tmp_path: Path
) -> None:
    trap = Trap(tmp_path / 'trap')
    stub.Call(call(trap), metadata=uactor.call_metadata(KEY))
    assert trap.path.exists()


def test_call_metadata_is_what_grpc_accepts() -> None:
    ((name, value),) = uactor.call_metadata(b'\xff\xfe key')
    assert name == name.lower() == 'authorization'
    scheme, _, token = value.partition(' ')
    assert scheme == 'Bearer'
    assert base64.urlsafe_b64decode(token + '=' * (-len(token) % 4)) == b'\xff\xfe key'
    assert not set(token) & set('+/=')


def test_a_key_with_padding_is_as_good_as_one_without(
    target: Any, stub: actor_pb2_grpc.ActorServiceStub
) -> None:
    padded = base64.urlsafe_b64encode(KEY).decode()
    metadata = (('authorization', f'Bearer {padded}'),)
    request = pb.CallRequest(method='take', args=[pb.Value(int64=42)])
    assert stub.Call(request, metadata=metadata).result.int64 == 42
