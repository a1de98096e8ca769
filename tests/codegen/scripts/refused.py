"""Calls without the authkey."""

import asyncio

import grpc

with clients.FeedClient(address, authkey=authkey, timeout=20) as client:
    for act in (lambda: client.total([1]), lambda: list(client.ticks(1))):
        try:
            act()
            raise AssertionError
        except package.ActorError as error:
            assert error.code is grpc.StatusCode.UNAUTHENTICATED, error
            assert error.executed in ('', 'no'), error.executed


async def main():
    async with clients.AsyncFeedClient(address, authkey=authkey, timeout=20) as client:
        try:
            await client.total([1])
            raise AssertionError
        except package.ActorError as error:
            assert error.code is grpc.StatusCode.UNAUTHENTICATED, error


asyncio.run(main())
print('done')
