import multiprocessing

import grpc
from polls import Polls

import uactor
from uactor.v1 import actor_pb2 as pb
from uactor.v1 import actor_pb2_grpc


def ask(address: str, authkey: bytes) -> None:
    metadata = uactor.call_metadata(authkey)
    with grpc.insecure_channel(address) as channel:
        actor = actor_pb2_grpc.ActorServiceStub(channel)

        call = pb.CallRequest(method='vote', args=[pb.Value(string='ann')])
        call.kwargs['count'].int64 = 3
        print(actor.Call(call, metadata=metadata).result.int64)

        attribute = pb.GetAttributeRequest(name='leader')
        print(actor.GetAttribute(attribute, metadata=metadata).value.string)

        stream = pb.CallStreamRequest(call=pb.CallRequest(method='ranking'))
        print([reply.item.string for reply in actor.CallStream(stream, metadata=metadata)])

        votes = actor.Call(pb.CallRequest(method='votes'), metadata=metadata).result.handle
        size = pb.CallRequest(handle=votes.id, method='__len__')
        print(votes.typeid, votes.repr, actor.Call(size, metadata=metadata).result.int64)

        actor.ReleaseHandle(pb.ReleaseHandleRequest(handles=[votes.id]), metadata=metadata)
        try:
            actor.Call(size, metadata=metadata)
        except grpc.RpcError as error:
            print(error.code())


with Polls('ann', 'bob') as polls:
    ask(str(polls.connection_address), multiprocessing.current_process().authkey)
