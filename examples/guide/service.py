import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from polls import Polls


def check_health(address: str) -> str:
    """Return what a load balancer or a supervisor learns; it needs no key."""
    with grpc.insecure_channel(address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest()
        # types-grpcio-health-checking lacks the method
        status = health.Check(request, wait_for_ready=True, timeout=30).status  # type: ignore[attr-defined]
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(status))


with tempfile.TemporaryDirectory() as directory:
    keyfile = Path(directory, 'key')
    keyfile.touch(mode=0o600)
    keyfile.write_text(os.urandom(32).hex())

    address = f'unix:{directory}/polls'
    command = [sys.executable, '-m', 'uactor', 'serve', 'polls:Polls']
    options = ['--address', address, '--authkey-file', str(keyfile)]
    server = subprocess.Popen([*command, *options, '--', '"ann"'], stdout=subprocess.DEVNULL)

    print(check_health(address))
    polls = Polls.connect(address, keyfile.read_bytes())
    print(polls.vote('ann', count=2))

    server.send_signal(signal.SIGTERM)  # as systemd and Kubernetes do
    print('exit status', server.wait(timeout=30))
