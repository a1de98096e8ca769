"""Keep the authkeys of addresses, and prove that a peer knows one.

An authkey never leaves this module for a handle, an argument list, the environment, a log line or
a repr. Python peers never send it at all. They prove that they know it, by HMAC over nonces of both
sides. Only plain gRPC clients send it, in the metadata of their calls.
"""

from __future__ import annotations

import base64
import hmac
import multiprocessing
import os
from collections.abc import Sequence

__all__ = ['call_metadata']

METADATA_KEY = 'authorization'
_SCHEME = 'Bearer '


def get_family_key() -> bytes:
    """Return the authkey that all processes of this multiprocessing family share."""
    return bytes(multiprocessing.current_process().authkey)


def call_metadata(authkey: bytes) -> tuple[tuple[str, str], ...]:
    """Return the metadata that authenticates a gRPC call.

    A hand-written client calls ``stub.Call(request, metadata=uactor.call_metadata(key))``.

    :param authkey: the actor's authkey.
    """
    token = base64.urlsafe_b64encode(authkey).decode('ascii').rstrip('=')
    return ((METADATA_KEY, _SCHEME + token),)


def is_authorized(metadata: Sequence[tuple[str, str | bytes]], authkey: bytes) -> bool:
    """Return, in constant time, whether call metadata carries ``authkey``."""
    ((_, expected),) = call_metadata(authkey)
    given = next((value for key, value in metadata if key == METADATA_KEY), '')
    if isinstance(given, bytes):
        given = given.decode('ascii', 'replace')
    # A client may pad its base64, or not.
    return hmac.compare_digest(given.rstrip('=').encode(), expected.encode())


def create_nonce() -> bytes:
    """Return fresh random bytes for a challenge."""
    return os.urandom(16)


def compute_proof(authkey: bytes, role: str, theirs: bytes, ours: bytes) -> bytes:
    """Return the proof that ``role`` ('host' or 'client') knows ``authkey``.

    :param theirs: the nonce that the other side chose.
    :param ours: the nonce that this side chose.
    """
    return hmac.digest(authkey, b'uactor/1 ' + role.encode() + theirs + ours, 'sha256')


def is_valid_proof(given: bytes, authkey: bytes, role: str, theirs: bytes, ours: bytes) -> bool:
    """Return, in constant time, whether ``given`` is the other side's proof."""
    return hmac.compare_digest(given, compute_proof(authkey, role, theirs, ours))


class Keyring:
    """The authkeys that this process knows by address, and aliases of addresses."""

    def __init__(self) -> None:
        self._keys: dict[str, bytes] = {}
        self._aliases: dict[str, str] = {}

    def add(self, address: str, authkey: bytes, aliases: Sequence[str] = ()) -> None:
        """Add the key of the actor at ``address``.

        :param aliases: further addresses under which the same actor may appear.
        """
        self._keys[address] = bytes(authkey)
        self._aliases.update((alias, address) for alias in aliases if alias != address)

    def forget(self, address: str) -> None:
        """Forget the key of an actor that has ended."""
        self._keys.pop(address, None)

    def knows(self, address: str) -> bool:
        """Return whether this process has a key for an address."""
        return self.resolve(address) in self._keys

    def resolve(self, address: str) -> str:
        """Return the address at which this process reaches ``address``."""
        return self._aliases.get(address, address)

    def candidates(self, address: str) -> tuple[bytes, ...]:
        """Return the keys to try at ``address``: its own, then the family's."""
        known = self._keys.get(address)
        family = get_family_key()
        return (family,) if known in (None, family) else (known, family)

    def __repr__(self) -> str:
        return f'<Keyring of {len(self._keys)} addresses>'


keyring = Keyring()
"""The keyring of this process."""
