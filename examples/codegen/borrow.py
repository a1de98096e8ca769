"""Borrows from a library. It has grpcio, protobuf and the generated package ``clients``."""

import asyncio
import sys

from clients import ActorError
from clients.library_client import AsyncLibraryClient, Kind, LibraryClient, Work

address, authkey = sys.argv[1], bytes.fromhex(sys.argv[2])

with LibraryClient(address, authkey=authkey, timeout=10) as library:
    library.add(Work('Atlas', Kind.MAP, year=1595))
    print(library.add(Work('Emma')), 'works')
    print('Emma is mine for', library.lend('Emma'), 'weeks')
    try:
        library.lend('Emma', weeks=1)
    except ActorError as error:
        print(error.code.name, error.py_type, error.executed)
    try:
        library.add(Work('Emma', year='1815'))
    except ValueError as error:
        print(error)
    for work in library.works(Kind.MAP):
        print(work)


async def main() -> None:
    async with AsyncLibraryClient(address, authkey=authkey) as library:
        print([work.title async for work in library.works()])


asyncio.run(main())
