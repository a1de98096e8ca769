"""Streams of the blocking client: lazy, cancelled, broken."""

import threading

import grpc

with clients.FeedClient(address, authkey=authkey, timeout=20) as client:
    with client.endless() as stream:
        assert next(stream) is None
    assert client.closed()

    stream = client.breaks(2)
    assert [next(stream), next(stream)] == [0, 1]
    try:
        next(stream)
        raise AssertionError
    except package.ActorError as error:
        assert error.code is grpc.StatusCode.FAILED_PRECONDITION, error
        assert error.message.endswith('broken'), error

    # Both sides take turns: nothing is sent before it is there.
    answered = threading.Semaphore(1)

    def lists():
        for number in range(3):
            assert answered.acquire(timeout=20)
            yield [number]

    seen = []
    for item in client.echo(lists(), 10):
        seen.append(item)
        answered.release()
    assert seen == [[10], [11], [12]], seen

    # What the items raise, and what is wrong with them, comes back as it is.
    def broken():
        yield 1
        raise ZeroDivisionError('mine')

    for items, kind in ((broken(), ZeroDivisionError), ([1, 'two'], ValueError)):
        try:
            client.total(items)
            raise AssertionError
        except kind:
            pass
    try:
        list(client.echo([[1], ['x']]))
        raise AssertionError
    except ValueError as error:
        assert error.path == 'lists[0]', error.path
    print('done')
