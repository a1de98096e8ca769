"""Objects that stay in the actor, named by handles."""

import asyncio

import grpc

Handle = package.Handle
with clients.DeskClient(address, authkey=authkey, timeout=20) as client:
    basket = client.basket()
    assert isinstance(basket, Handle)
    assert (basket.typeid, basket.repr) == ('list', '[1]'), basket
    assert client.fill(basket, 7) == 2
    assert client.fill(basket, 8) == 3
    me = client.me()
    assert me.service == 'corpus.properties_handles.v1.DeskService', me
    with clients.DeskClient(me.address, authkey=authkey, timeout=20) as again:
        again.set_limit(9)
    assert client.get_limit() == 9
    try:
        client.fill(Handle('nothing'), 1)
        raise AssertionError
    except package.ActorError as error:
        known = (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION)
        assert error.code in known, error


async def main():
    async with clients.AsyncDeskClient(address, authkey=authkey, timeout=20) as client:
        assert await client.fill(await client.basket(), 9) == 4


asyncio.run(main())
print('done')
