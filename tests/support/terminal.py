"""Call actors by the tools of a terminal: grpcurl and buf curl."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import uactor
from tests.conftest import require_tool
from tests.support.rpc import KEYED

HEADER, WRONG = (
    ': '.join(metadata[0]) for metadata in (KEYED, uactor.call_metadata(b'another key'))
)
ACTOR_SERVICE = 'uactor.v1.ActorService'


def run(*words: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, input=stdin, capture_output=True, text=True, timeout=30)


class Grpcurl:
    """Runs grpcurl against one actor.

    :param service: whose RPCs it makes.
    """

    def __init__(self, address: str, service: str = ACTOR_SERVICE) -> None:
        self._service = service
        self.is_unix = address.startswith('unix:')
        self.target = address.removeprefix('unix:')

    def words(self, *options: str, headers: tuple[str, ...] = ('-H', HEADER)) -> list[str]:
        unix = ['-unix'] if self.is_unix else []
        return [require_tool('grpcurl'), '-plaintext', *unix, *headers, *options, self.target]

    def run(self, *command: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run ``list``, ``describe …`` or an RPC without a request."""
        return run(*self.words(**options), *command)

    def rpc(self, rpc: str, /, **fields: Any) -> Any:
        """Make an RPC of the service and return its response."""
        done = run(*self.words('-d', json.dumps(fields)), f'{self._service}/{rpc}')
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def stream(self, rpc: str, /, *requests: Any) -> list[Any]:
        """Make an RPC with these requests and return its responses."""
        stdin = ''.join(map(json.dumps, requests))
        done = run(*self.words('-d', '@'), f'{self._service}/{rpc}', stdin=stdin)
        assert done.returncode == 0, done.stderr
        return parse_json_values(done.stdout)

    def failure(self, rpc: str, /, **fields: Any) -> tuple[int, str]:
        """Make an RPC that fails, and return its status code and the error output."""
        done = run(*self.words('-d', json.dumps(fields)), f'{self._service}/{rpc}')
        return done.returncode - 64, done.stderr  # as grpcurl has it


class BufCurl:
    """Runs ``buf curl`` against one actor.

    :param service: whose RPCs it makes.
    """

    def __init__(self, address: str, service: str = ACTOR_SERVICE) -> None:
        self._service = service
        path = address.removeprefix('unix:')
        self._socket = ['--unix-socket', path] if path != address else []
        self._url = 'http://localhost' if self._socket else f'http://{address}'

    def run(self, path: str, *options: str) -> subprocess.CompletedProcess[str]:
        curl = [require_tool('buf'), 'curl', '--protocol=grpc', '--http2-prior-knowledge']
        return run(*curl, *self._socket, *options, self._url + path)

    def rpc(self, rpc: str, version: str = 'grpc-v1', /, **fields: Any) -> Any:
        """Make an RPC of the service, by server reflection, and return its response."""
        reflection = ('--reflect', '--reflect-protocol', version, '--reflect-header', '*')
        done = self.run(
            f'/{self._service}/{rpc}', '-H', HEADER, *reflection, '-d', json.dumps(fields)
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


def parse_json_values(text: str) -> list[Any]:
    """Return the JSON values that follow one another in ``text``."""
    decoder, values = json.JSONDecoder(), []
    while text := text.lstrip():
        value, end = decoder.raw_decode(text)
        values.append(value)
        text = text[end:]
    return values
