import hmac
import queue
import secrets
from collections.abc import Iterator

import grpc

import uactor
from uactor.v1 import actor_pb2 as pb
from uactor.v1 import actor_pb2_grpc

KEY = b'never on the wire'


class Door(uactor.Actor):
    _options_ = {'address': 'localhost:0', 'authkey': KEY}


def proof(role: bytes, theirs: bytes, ours: bytes) -> bytes:
    return hmac.digest(KEY, b'uactor/1 ' + role + theirs + ours, 'sha256')


def converse(address: str) -> None:
    requests: queue.SimpleQueue[pb.SessionRequest | None] = queue.SimpleQueue()
    with grpc.insecure_channel(address) as channel:
        responses: Iterator[pb.SessionResponse] = actor_pb2_grpc.ActorServiceStub(channel).Session(
            iter(requests.get, None)
        )
        nonce = secrets.token_bytes(16)
        hello = pb.Hello(protocol_version=1, client_id=secrets.token_hex(16), nonce=nonce)
        requests.put(pb.SessionRequest(id=1, hello=hello))
        welcome = next(responses).welcome
        known = hmac.compare_digest(welcome.proof, proof(b'host', nonce, welcome.nonce))
        print('the host knows the key:', known)
        answer = pb.Proof(proof=proof(b'client', welcome.nonce, nonce))
        requests.put(pb.SessionRequest(proof=answer))

        # An RLock belongs to a thread: all calls of this session run on the same one.
        requests.put(pb.SessionRequest(id=2, create_handle=pb.CreateHandleRequest(typeid='RLock')))
        lock = next(responses).result.handle.id
        for number, method in enumerate(['acquire', 'acquire', 'release', 'release', 'release'], 3):
            call = pb.CallRequest(handle=lock, method=method)
            requests.put(pb.SessionRequest(id=number, call=call))
            response = next(responses)
            if response.HasField('failure'):
                print(method, response.failure.type_name, response.failure.message)
            else:
                print(method, response.result.WhichOneof('kind'))
        requests.put(pb.SessionRequest(goodbye=pb.Goodbye(process_ends=True)))
        requests.put(None)
        print('then:', next(responses, 'the stream ends'))


with Door() as door:
    converse(str(door.connection_address))
