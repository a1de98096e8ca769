"""uactor with the lane turned off: each call is a message on a gRPC stream."""

from __future__ import annotations

from benchmarks.peers import uactor_lane


class Actor(uactor_lane.Actor):
    _options_ = {}


class Peer(uactor_lane.Peer):
    actor_class = Actor
