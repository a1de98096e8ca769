"""Calls of the blocking client that nobody waits for."""

import concurrent.futures

import grpc

with clients.FeedClient(address, authkey=authkey, timeout=20) as client:
    # They run at the same time: the actor's method ends only with the call that is cancelled.
    slow = package.future(client.slow)
    sums = [package.future(client.total, [1, n], factor=2) for n in range(5)]
    assert [each.result(20) for each in sums] == [2, 4, 6, 8, 10]
    assert not slow.done()
    assert slow.cancel()
    assert slow.cancelled()
    try:
        slow.result(20)
        raise AssertionError
    except concurrent.futures.CancelledError:
        pass

    # It can't be cancelled any more once it is done.
    done = package.future(client.total, iter([3]))
    assert done.result(20) == 3
    assert not done.cancel()

    error = package.future(client.fail, 'no more').exception(20)
    assert isinstance(error, package.ActorError), error
    assert error.code is grpc.StatusCode.FAILED_PRECONDITION, error
    error = package.future(client.slow, timeout=0.2).exception(20)
    assert error.code is grpc.StatusCode.DEADLINE_EXCEEDED, error

    # What does not fit is told at once; an item that does not, by the future.
    try:
        package.future(client.fail, 5)
        raise AssertionError
    except ValueError as error:
        assert error.path == 'text', error.path
    error = package.future(client.total, [1, 'two']).exception(20)
    assert isinstance(error, ValueError), error

    for method in (client.endless, len):
        try:
            package.future(method)
            raise AssertionError
        except TypeError:
            pass

    # The client itself goes on waiting.
    assert client.total([1]) == 1
print('done')
