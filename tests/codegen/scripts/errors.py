"""What the client's exceptions tell."""

import asyncio

import grpc


def failing(error, code, **told):
    assert error.code is code, error
    for name, value in told.items():
        assert getattr(error, name) == value, (name, getattr(error, name), value)


def catch(act):
    try:
        act()
    except Exception as error:
        return error
    raise AssertionError('nothing was raised')


async def catch_async(awaitable):
    try:
        await awaitable
    except Exception as error:
        return error
    raise AssertionError('nothing was raised')


with clients.FeedClient(address, authkey=authkey) as client:
    error = catch(lambda: client.fail('no more'))
    name = 'tests.codegen.corpus.streams.actor.Empty'
    told = {'executed': 'yes', 'py_type': name, 'message': f'{name}: no more'}
    failing(error, grpc.StatusCode.FAILED_PRECONDITION, **told)
    assert error.reason, error
    assert 'in fail' in error.traceback, error.traceback

    # What does not fit is not even sent.
    error = catch(lambda: client.fail(5))
    assert isinstance(error, ValueError), error
    assert error.path == 'text', error.path

    error = catch(lambda: client.slow(timeout=0.2))
    failing(error, grpc.StatusCode.DEADLINE_EXCEEDED, executed='', reason='')

with clients.FeedClient(address, authkey=authkey, timeout=0.2) as client:
    failing(catch(client.slow), grpc.StatusCode.DEADLINE_EXCEEDED)

# A caller whose schema is another one: the parameter is missing.
runtime = package.runtime.client
with grpc.insecure_channel(address) as channel:
    call = channel.unary_unary('/corpus.streams.v1.FeedService/Fail')
    try:
        call(b'', metadata=runtime.metadata_of(authkey))
    except grpc.RpcError as raw:
        error = runtime.failure(raw)
    failing(
        error,
        grpc.StatusCode.INVALID_ARGUMENT,
        executed='no',
        violations=(('text', 'missing'),),
    )


async def main():
    async with clients.AsyncFeedClient(address, authkey=authkey) as client:
        error = await catch_async(client.fail('no more'))
        failing(error, grpc.StatusCode.FAILED_PRECONDITION, **told)
        error = await catch_async(client.slow(timeout=0.2))
        failing(error, grpc.StatusCode.DEADLINE_EXCEEDED)
        assert isinstance(await catch_async(client.fail(5)), ValueError)
        task = asyncio.ensure_future(client.slow())
        await asyncio.sleep(0)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            print('done')


asyncio.run(main())
