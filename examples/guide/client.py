import grpc

import uactor
from uactor.v1 import actor_pb2 as pb
from uactor.v1 import actor_pb2_grpc


class Polls(uactor.Actor):
    _options_ = {'address': 'localhost:0', 'authkey': b'ask me anything'}
    _exposed_ = ('vote', 'leader')
    _method_to_typeid_ = {'votes': 'dict'}

    def __init__(self) -> None:
        self._votes: dict[str, int] = {}

    def vote(self, name: str, count: int = 1) -> int:
        self._votes[name] = self._votes.get(name, 0) + count
        return self._votes[name]

    def votes(self) -> dict[str, int]:
        return self._votes

    @property
    def leader(self) -> str:
        return max(self._votes, key=self._votes.__getitem__)


def ask(address: str) -> None:
    metadata = uactor.call_metadata(b'ask me anything')
    with grpc.insecure_channel(address) as channel:
        actor = actor_pb2_grpc.ActorServiceStub(channel)

        call = pb.CallRequest(method='vote', args=[pb.Value(string='ann')])
        call.kwargs['count'].int64 = 3
        print(actor.Call(call, metadata=metadata).result.int64)

        attribute = pb.GetAttributeRequest(name='leader')
        print(actor.GetAttribute(attribute, metadata=metadata).value.string)

        votes = actor.Call(pb.CallRequest(method='votes'), metadata=metadata).result.handle
        size = pb.CallRequest(handle=votes.id, method='__len__')
        print(votes.typeid, votes.repr, actor.Call(size, metadata=metadata).result.int64)

        actor.ReleaseHandle(pb.ReleaseHandleRequest(handles=[votes.id]), metadata=metadata)
        try:
            actor.Call(size, metadata=metadata)
        except grpc.RpcError as error:
            print(error.code())


with Polls() as polls:
    ask(str(polls.connection_address))
