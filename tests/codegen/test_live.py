"""Generated clients, where there is neither uactor nor the actor's source, call live actors."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from uactor_codegen.runtime.client import CallFuture, Client, Requests
from uactor_codegen.runtime.failures import ActorError
from uactor_codegen.runtime_copy import relocate

from tests.codegen.support import BY_NAME, NAMES, Case
from tests.support import eventually
from tests.support.rpc import KEY, get_dial_address
from uactor.service.naming import snake

# All of the corpus is generated first, beside other tests.
pytestmark = [pytest.mark.pythons('annotations'), pytest.mark.timeout(240)]

HERE = Path(__file__).parent


def drive(
    folder: Path, case: Case, script: str, actor: Any, key: bytes = KEY, *more: str | Path
) -> str:
    """Run a script with the clients of a case; return what it prints."""
    module = f'made_{case.name}.{snake(case.actors[0])}_client'
    arguments = [
        folder,
        module,
        HERE / 'scripts' / f'{script}.py',
        get_dial_address(actor),
        key.hex(),
        *more,
    ]
    done = subprocess.run(
        [sys.executable, '-I', '-W', 'error', HERE / 'driver.py', *map(str, arguments)],
        env={name: value for name, value in os.environ.items() if name != 'PYTHONPATH'},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ''), done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize('name', NAMES)
def test_values_go_there_and_back(name: str, generated: Path) -> None:
    case = BY_NAME[name]
    with case.actor_class() as actor:
        calls = case.folder / 'calls.py'
        made = drive(generated, case, 'round_trips', actor, KEY, calls)
    assert int(made) > 0


@pytest.mark.parametrize('script', ['errors', 'futures', 'streams', 'async_streams'])
def test_calls_fail_end_and_are_cancelled(script: str, generated: Path) -> None:
    case = BY_NAME['streams']
    with case.actor_class() as actor:
        assert drive(generated, case, script, actor) == 'done'


def test_handles_are_given_back(generated: Path) -> None:
    case = BY_NAME['properties_handles']
    with case.actor_class() as actor:
        assert drive(generated, case, 'handles', actor) == 'done'


@pytest.mark.parametrize('key', [b'', b'wrong'])
def test_calls_without_the_authkey_are_refused(key: bytes, generated: Path) -> None:
    case = BY_NAME['streams']
    with case.actor_class() as actor:
        assert drive(generated, case, 'refused', actor, key) == 'done'


# --- parts of the runtime by themselves ----------------------------------------------------------


class Call:
    """What gRPC knows of a call."""

    def __init__(self) -> None:
        self.is_cancelled = False

    def result(self) -> None:
        raise KeyboardInterrupt

    def cancel(self) -> None:
        self.is_cancelled = True


def rpc_of(call: Call) -> Any:
    """Return an RPC that makes such a call, and sends values as they are."""
    started = SimpleNamespace(future=lambda request, **_: call)
    return SimpleNamespace(
        server_streaming=False,
        request=lambda values: values,
        item=lambda value: value,
        result=lambda response: response,
        bind=lambda channel: started,
    )


def test_a_call_that_is_interrupted_is_cancelled() -> None:
    call = Call()

    class Made(Client):
        _schema: Any = SimpleNamespace(rpcs={'add': rpc_of(call)})

        def add(self, by: int) -> Any:
            return self._call('add', None, {'by': by})

    with pytest.raises(KeyboardInterrupt):
        Made(cast('Any', None)).add(1)
    assert call.is_cancelled


def test_a_channel_that_was_given_to_a_client_is_left_open() -> None:
    closed: list[str] = []
    channel: Any = SimpleNamespace(close=lambda: closed.append('closed'))
    with Client(channel):
        pass
    assert closed == []


def test_a_call_whose_first_item_can_not_be_had_is_cancelled_once_it_is_there() -> None:
    def items() -> Iterator[int]:
        raise LookupError
        yield 1

    call = Call()
    requests = Requests(rpc_of(call), {}, items())
    consumer = threading.Thread(target=lambda: list(requests))
    consumer.start()
    eventually(lambda: requests.error is not None)
    requests.attach(call)
    consumer.join(20)
    assert call.is_cancelled


def test_a_future_that_is_cancelled_cancels_its_call() -> None:
    call: Any = Call()
    call.add_done_callback = lambda settle: None
    assert CallFuture(rpc_of(call), call, None).cancel()
    assert call.is_cancelled


def test_an_error_has_all_its_violations() -> None:
    request = error_details_pb2.BadRequest()
    for name in ('one', 'other'):
        request.field_violations.add(field=name, description=f'{name} is wrong')
    status = status_pb2.Status(code=3)
    status.details.add().Pack(request)
    error = ActorError(grpc.StatusCode.INVALID_ARGUMENT, 'no', status.SerializeToString())
    assert error.violations == (('one', 'one is wrong'), ('other', 'other is wrong'))


def test_an_error_leaves_out_what_is_unknown() -> None:
    status = status_pb2.Status(code=3)
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason='OTHER', domain='a proxy'))
    error = ActorError(grpc.StatusCode.INTERNAL, 'no', status.SerializeToString())
    assert (error.reason, error.executed, error.py_type) == ('OTHER', '', '')


def test_imports_of_the_runtime_are_relocated_wherever_they_stand() -> None:
    source = """
from uactor.errors import UActorException
from uactor.service.codecs.plan import Plan
if True:
    from uactor.errors import UActorException
    from uactor_codegen.runtime.schema import Schema
"""
    assert (
        relocate(source, depth=2)
        == """
from ..root import UActorException
from ..codecs.plan import Plan
if True:
    from ..root import UActorException
    from ..schema import Schema
"""
    )
