"""Streams of the asynchronous client: lazy, cancelled, broken."""

import asyncio

import grpc


async def main():
    async with clients.AsyncFeedClient(address, authkey=authkey, timeout=20) as client:
        async with client.endless() as stream:
            assert await stream.__anext__() is None
        assert await client.closed()

        stream = client.breaks(1)
        assert await stream.__anext__() == 0
        try:
            await stream.__anext__()
            raise AssertionError
        except package.ActorError as error:
            assert error.code is grpc.StatusCode.FAILED_PRECONDITION, error

        answered = asyncio.Semaphore(1)

        async def lists():
            for number in range(3):
                await answered.acquire()
                yield [number]

        seen = []
        async for item in client.echo(lists(), 10):
            seen.append(item)
            answered.release()
        assert seen == [[10], [11], [12]], seen

        async def numbers():
            yield 1
            yield 2

        assert await client.total(numbers()) == 3

        async def broken():
            yield 1
            raise ZeroDivisionError('mine')

        for items, kind in ((broken(), ZeroDivisionError), ([1, 'two'], ValueError)):
            try:
                await client.total(items)
                raise AssertionError
            except kind:
                pass
    print('done')


asyncio.run(main())
