"""The messages of a handshake, without a wire."""

from __future__ import annotations

import pytest

import uactor
from uactor._wire import PROTOCOL_VERSION
from uactor.client.handshake import ClientHandshake
from uactor.core import auth
from uactor.v1 import actor_pb2 as pb

KEY = b'the key of the actor'


def welcome_of(
    hello: pb.Hello, key: bytes = KEY, nonce: bytes = b'', version: int = PROTOCOL_VERSION
) -> pb.Welcome:
    """Return what a host answers."""
    ours = auth.create_nonce()
    proof = auth.compute_proof(key, 'host', nonce or hello.nonce, ours)
    return pb.Welcome(protocol_version=version, proof=proof, nonce=ours)


def test_both_sides_prove_that_they_know_the_authkey() -> None:
    handshake = ClientHandshake('unix:/a', KEY, 'client')
    hello = handshake.hello(pipelined=True, has_memory=False).hello
    assert (hello.client_id, hello.pipelined, hello.memory) == ('client', True, False)
    welcome = welcome_of(hello)
    proof = handshake.proof(welcome).proof.proof
    assert auth.is_valid_proof(proof, KEY, 'client', welcome.nonce, hello.nonce)


def test_no_two_handshakes_have_the_same_nonce() -> None:
    hellos = [ClientHandshake('unix:/a', KEY, 'client').hello(False, True) for _ in range(10)]
    assert len({hello.hello.nonce for hello in hellos}) == 10


def test_a_host_with_another_authkey_gets_no_proof() -> None:
    handshake = ClientHandshake('unix:/a', KEY, 'client')
    welcome = welcome_of(handshake.hello(False, True).hello, key=b'another')
    with pytest.raises(uactor.AuthkeyError, match='the actor at unix:/a has another authkey'):
        handshake.proof(welcome)


def test_a_proof_over_another_nonce_is_none() -> None:
    handshake = ClientHandshake('unix:/a', KEY, 'client')
    welcome = welcome_of(handshake.hello(False, True).hello, nonce=auth.create_nonce())
    with pytest.raises(uactor.AuthkeyError):
        handshake.proof(welcome)


def test_the_key_is_checked_before_the_version() -> None:
    handshake = ClientHandshake('unix:/a', KEY, 'client')
    hello = handshake.hello(False, True).hello
    with pytest.raises(uactor.VersionError, match=f'speaks protocol {PROTOCOL_VERSION + 1}'):
        handshake.proof(welcome_of(hello, version=PROTOCOL_VERSION + 1))
    with pytest.raises(uactor.AuthkeyError):
        handshake.proof(welcome_of(hello, key=b'another', version=PROTOCOL_VERSION + 1))
