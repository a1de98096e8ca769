"""The states of an actor's server, and what health checks are told in each."""

from __future__ import annotations

import itertools

import pytest
from grpc_health.v1 import health_pb2

from uactor.host.grpc.health import (
    TRANSITIONS,
    ServerEvent,
    ServerState,
    ServerStatus,
    statuses,
)

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
ACTOR, HEALTH, TYPED = 'uactor.v1.ActorService', 'grpc.health.v1.Health', 'shop.v1.ShopService'

STARTING, READY, ENDING, STOPPED = ServerState
CONSTRUCTED, END, STOP = ServerEvent


class Reports:
    """Notes what a health servicer is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int]] = []

    def set(self, service: str, status: int) -> None:
        self.told.append((service, status))


@pytest.mark.parametrize(
    ('events', 'state'),
    [
        ((), STARTING),
        ((CONSTRUCTED,), READY),
        ((CONSTRUCTED, END), ENDING),
        ((CONSTRUCTED, END, STOP), STOPPED),
        ((END, CONSTRUCTED), ENDING),
        ((END, END), ENDING),
        ((END, STOP, CONSTRUCTED), STOPPED),
        ((END, STOP, END, STOP), STOPPED),
    ],
)
def test_events_lead_to_a_state(events: tuple[ServerEvent, ...], state: ServerState) -> None:
    status = ServerStatus()
    for event in events:
        status.advance(event)
    assert status.state is state


@pytest.mark.parametrize(
    ('state', 'event'), [(STARTING, STOP), (READY, CONSTRUCTED), (READY, STOP)]
)
def test_a_server_is_constructed_once_and_ends_before_it_stops(
    state: ServerState, event: ServerEvent
) -> None:
    assert (state, event) not in TRANSITIONS


def test_no_state_is_left_for_an_earlier_one() -> None:
    order = list(ServerState)
    for (before, _), after in TRANSITIONS.items():
        assert order.index(after) >= order.index(before)


@pytest.mark.parametrize(('state', 'has_typed'), [*itertools.product(ServerState, [True, False])])
def test_services_are_healthy_while_the_actor_can_be_called(
    state: ServerState, has_typed: bool
) -> None:
    found = statuses(state, TYPED, has_typed)
    expected = SERVING if state is READY else NOT_SERVING
    assert found.keys() >= {'', ACTOR, HEALTH, TYPED}
    assert {status for name, status in found.items() if name != TYPED} == {expected}
    assert found[TYPED] == (expected if has_typed else NOT_SERVING)


def test_a_class_without_a_typed_service_does_not_make_the_server_unhealthy() -> None:
    assert statuses(READY, '', has_typed=False)[''] == SERVING


def test_only_changes_are_reported() -> None:
    reports, status = Reports(), ServerStatus()
    status.advance(CONSTRUCTED)
    status.report_to(reports, TYPED)  # type: ignore[arg-type]  # as much of one as is needed
    assert dict(reports.told)[TYPED] == SERVING
    reports.told.clear()
    status.announce_typed_failure()
    assert reports.told == [(TYPED, NOT_SERVING)]
    status.advance(END)
    assert reports.told.count((TYPED, NOT_SERVING)) == 1
    assert ('', NOT_SERVING) in reports.told
