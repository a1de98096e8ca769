"""Script for the driver: makes the calls of a case with both clients, and compares the results.

What the calls are stands in ``calls.py`` of the case: method, arguments, and the result.
"""

import asyncio
import pathlib
import runpy

name = clients.__name__.rpartition('.')[2].removesuffix('_client')
kind = ''.join(word.capitalize() for word in name.split('_'))
table = pathlib.Path(calls)
CALLS = runpy.run_path(str(table), {'m': clients})['CALLS']


def same(found, expected, what):
    assert found == expected, (what, found, expected)
    assert type(found) is type(expected), (what, type(found), type(expected))


def blocking():
    with getattr(clients, f'{kind}Client')(address, authkey=authkey, timeout=20) as client:
        for method, args, kwargs, expected in CALLS:
            found = getattr(client, method)(*args, **kwargs)
            same(list(found) if hasattr(found, '__next__') else found, expected, method)


async def asynchronous():
    make = getattr(clients, f'Async{kind}Client')
    async with make(address, authkey=authkey, timeout=20) as client:
        for method, args, kwargs, expected in CALLS:
            found = getattr(client, method)(*args, **kwargs)
            found = [i async for i in found] if hasattr(found, '__anext__') else await found
            same(found, expected, method)


blocking()
asyncio.run(asynchronous())
print(len(CALLS))
