"""The handshake of a session, on the client's side: hello, welcome, proof.

Each side sends a nonce, and proves that it knows the authkey by an HMAC over both nonces. The host
proves it first. Neither side unpickles anything before it has checked the other side's proof. This
module sends and receives nothing: :class:`uactor.client.session.ClientSession` does.
"""

from __future__ import annotations

import multiprocessing
import os

import cloudpickle

from uactor._wire import PROTOCOL_VERSION
from uactor.codec import pickling
from uactor.core import auth
from uactor.errors import AuthkeyError, VersionError
from uactor.v1 import actor_pb2 as pb


class ClientHandshake:
    """The messages by which a client and a host authenticate each other.

    :param address: address of the host, for error messages.
    :param client_id: identifies this process in the host's count of holds.
    """

    def __init__(self, address: str, authkey: bytes, client_id: str) -> None:
        self._address = address
        self._authkey = authkey
        self._client_id = client_id
        self._nonce = auth.create_nonce()

    def hello(self, pipelined: bool, has_memory: bool) -> pb.SessionRequest:
        """Return the first message of a session.

        :param pipelined: whether the session sends calls before earlier ones are answered.
        :param has_memory: whether large data can travel beside the messages.
        """
        hello = pb.Hello(
            protocol_version=PROTOCOL_VERSION,
            python_version=pickling.PYTHON_VERSION,
            cloudpickle_version=cloudpickle.__version__,
            client_id=self._client_id,
            nonce=self._nonce,
            pipelined=pipelined,
            name=f'{multiprocessing.current_process().name} ({os.getpid()})',
            memory=has_memory,
            definitions=True,
        )
        return pb.SessionRequest(hello=hello)

    def proof(self, welcome: pb.Welcome) -> pb.SessionRequest:
        """Validate the host's welcome, and return the message that proves this side.

        :raises AuthkeyError: if the host does not know the authkey.
        :raises VersionError: if the host speaks another version of the protocol.
        """
        theirs, ours = welcome.nonce, self._nonce
        if not auth.is_valid_proof(welcome.proof, self._authkey, 'host', ours, theirs):
            raise AuthkeyError(f'the actor at {self._address} has another authkey')
        if welcome.protocol_version != PROTOCOL_VERSION:
            raise VersionError(
                f'the actor at {self._address} speaks protocol {welcome.protocol_version}, '
                f'this process {PROTOCOL_VERSION}; use the same version of uactor on both sides'
            )
        proof = auth.compute_proof(self._authkey, 'client', theirs, ours)
        return pb.SessionRequest(proof=pb.Proof(proof=proof))
