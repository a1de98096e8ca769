"""Results that can be taken back until the client confirms them."""

from __future__ import annotations

import functools

import pytest

from uactor.host.sessions import revocable
from uactor.host.sessions.revocable import RevocableResults
from uactor.v1 import actor_pb2 as pb

pytestmark = pytest.mark.quick

RESPONSE = pb.SessionResponse(id=5, result=pb.Value(int64=7))


@pytest.mark.parametrize('is_in_bytes', [True, False])
def test_a_response_is_marked(is_in_bytes: bool) -> None:
    response = RESPONSE.SerializeToString() if is_in_bytes else pb.SessionResponse()
    if isinstance(response, pb.SessionResponse):
        response.CopyFrom(RESPONSE)
    marked = RevocableResults().add(5, lambda: None, response)
    found = pb.SessionResponse.FromString(marked) if isinstance(marked, bytes) else marked
    assert found.revocable
    assert (found.id, found.result.int64) == (5, 7)


def test_a_call_is_undone_once_and_not_after_its_confirmation() -> None:
    results, undone = RevocableResults(), list[int]()
    for number in range(1, 4):
        results.add(number, functools.partial(undone.append, number), b'')
    results.confirm(1)
    assert [results.revoke(number) for number in (1, 2, 2, 4)] == [False, True, False, False]
    assert undone == [2]


def test_a_client_that_confirms_nothing_loses_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revocable, '_MAX_RESULTS', 2)
    results = RevocableResults()
    for number in range(1, 4):
        results.add(number, lambda: None, b'')
    assert [results.revoke(number) for number in (1, 2, 3)] == [False, True, True]
