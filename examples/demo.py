"""uactor at work: the documentation of Python's own library, read, indexed and searched.

Run by ``make demo``. It needs nothing but the runtime dependencies; with grpcurl
on the path it shows that as well.
"""

from __future__ import annotations

import ast
import collections
import logging
import math
import multiprocessing
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import textwrap
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import grpc

import uactor
from uactor.v1 import actor_pb2 as pb
from uactor.v1 import actor_pb2_grpc

# --- two actors ----------------------------------------------------------------------------------


class Library(uactor.Actor):
    """Reads the docstrings of the standard library and keeps them."""

    _method_to_typeid_ = {'finished': 'Event', 'modules': 'list'}  # stay here, come as proxies

    def __init__(self) -> None:
        self._docstrings: dict[str, str] = {}
        self._modules: list[str] = []
        self._finished = threading.Event()

    def pid(self) -> int:
        return os.getpid()

    def start(self, take: Callable[[Mapping[str, str]], object]) -> None:
        """Begin to read, and hand what each module has to ``take``."""
        threading.Thread(target=self._read, args=(take,), daemon=True).start()

    def _read(self, take: Callable[[Mapping[str, str]], object]) -> None:
        for name, path in sorted(standard_modules()):
            found = dict(docstrings(ast.parse(path.read_bytes()), name))
            self._modules.append(name)
            self._docstrings.update(found)
            take(found)
        self._finished.set()

    def finished(self) -> threading.Event:
        return self._finished

    def modules(self) -> list[str]:
        return self._modules

    def docstring(self, name: str) -> str:
        return self._docstrings[name]


class Index(uactor.Actor):
    """Knows which word occurs how often in which docstring."""

    _method_to_typeid_ = {'words': 'dict'}

    def __init__(self, library: Library) -> None:
        self._library = library  # a proxy
        self._words: dict[str, dict[str, int]] = collections.defaultdict(dict)
        self._lengths: dict[str, int] = {}

    def pid(self) -> int:
        return os.getpid()

    def add(self, docs: Mapping[str, str]) -> None:
        """Take the docstrings of a module."""
        for name, text in docs.items():
            words = re.findall(r'[a-z]{2,}', f'{name} {text}'.lower())
            self._lengths[name] = len(words)
            for word, count in collections.Counter(words).items():
                self._words[word][name] = count

    def words(self) -> dict[str, dict[str, int]]:
        return self._words

    def search(self, query: str, limit: int = 3) -> list[dict[str, str]]:
        """Return the best places for ``query``, with what the library has there."""
        places = [self._words.get(word, {}) for word in query.lower().split()]
        common = set[str].intersection(*map(set, places)) if places else set[str]()

        def score(name: str) -> float:
            return sum(found[name] for found in places) / math.sqrt(self._lengths[name])

        best = sorted(common, key=lambda name: (-score(name), name))[:limit]
        return [{'name': name, 'text': self._library.docstring(name)} for name in best]


# --- what they work on ---------------------------------------------------------------------------


def standard_modules() -> Iterator[tuple[str, Path]]:
    """Yield name and source file of the modules of the standard library."""
    root = Path(sysconfig.get_path('stdlib'))
    skipped = {'idlelib', 'lib2to3', 'pydoc_data', 'test', 'tests'}
    for path in root.rglob('*.py'):
        parts = path.relative_to(root).with_suffix('').parts
        if parts[0] in sys.stdlib_module_names and skipped.isdisjoint(parts):
            yield '.'.join(parts).removesuffix('.__init__'), path


def docstrings(node: ast.AST, name: str) -> Iterator[tuple[str, str]]:
    """Yield the docstrings of a module, its classes and their functions, by their names."""
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        text = ast.get_docstring(node)
        if text:
            yield name, text
    if isinstance(node, ast.Module | ast.ClassDef):
        for child in node.body:
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                yield from docstrings(child, f'{name}.{child.name}')


# --- what is shown -------------------------------------------------------------------------------


WIDTH = 92


def title(text: str) -> None:
    print(f'\n{text}\n{"-" * len(text)}')


def show(code: str, *results: object) -> None:
    """Print what was done, and what came of it."""
    print(f'  {code}')
    for result in results:
        print(f'      -> {textwrap.shorten(str(result), WIDTH, placeholder=" ...")}')


def quote(text: str) -> None:
    """Print what another program or process has said."""
    for line in text.rstrip().splitlines():
        print(f'      | {line[:WIDTH]} ...' if len(line) > WIDTH else f'      | {line}')


def show_actors(library: Library, index: Index) -> None:
    title('1. An actor is an object in a process of its own')
    show('os.getpid()', os.getpid())
    show('library = Library()', f'process {library.pid()}')
    show('index = Index(library)', f'process {index.pid()}; the proxy of one is given to the other')


def show_callbacks(library: Library, index: Index) -> None:
    title('2. Actors call each other: a bound method of one is the callback of the other')
    library.start(index.add)
    show('library.start(index.add)', 'returns at once: the actor reads on a thread of its own')
    finished = library.finished().wait(60)
    show('library.finished().wait(60)', f'{finished}, from a threading.Event that lives there')
    for query in ('thread pool', 'shared memory', 'weak reference'):
        found = index.search(query)
        show(f'index.search({query!r})', *(f'{place["name"]}: {place["text"]}' for place in found))
    print('  The index has ranked the places, and has asked the library for each text.')


def show_proxies(library: Library, index: Index) -> None:
    title('3. Large data stays where it is; proxies reach into it')
    modules, words = library.modules(), index.words()
    show('modules = library.modules()', f'a proxy of typeid {uactor.typeid(modules)!r}')
    show('len(modules), modules[:3]', (len(modules), modules[:3]))
    show("'asyncio.locks' in modules", 'asyncio.locks' in modules)
    show('words = index.words()', f'a proxy of typeid {uactor.typeid(words)!r}')
    show('len(words)', len(words))
    show("words['semaphore']", words['semaphore'])


def show_errors(library: Library) -> None:
    title('4. An exception comes back as it was raised')
    try:
        library.docstring('no.such.module')
    except KeyError as error:
        show("library.docstring('no.such.module')", repr(error))
        if isinstance(error.__cause__, uactor.RemoteTraceback):
            print('  Its cause is the traceback in the other process:')
            quote(error.__cause__.traceback)


def show_grpc(address: str, authkey: bytes) -> None:
    title('5. The same actor through plain gRPC, without proxies and without pickles')
    metadata = uactor.call_metadata(authkey)
    with grpc.insecure_channel(address) as channel:
        stub = actor_pb2_grpc.ActorServiceStub(channel)

        request = pb.CallRequest(method='search', args=[pb.Value(string='heap queue')])
        request.kwargs['limit'].int64 = 1
        reply = stub.Call(request, metadata=metadata)
        entries = reply.result.list.items[0].map.entries
        place = {entry.key.string: entry.value.string for entry in entries}
        show("stub.Call(method='search', args=['heap queue'], kwargs={'limit': 1})", place)

        handle = stub.Call(pb.CallRequest(method='words'), metadata=metadata).result.handle
        show("stub.Call(method='words')", f'handle {handle.id}, typeid {handle.typeid!r}')

        size = stub.Call(pb.CallRequest(handle=handle.id, method='__len__'), metadata=metadata)
        show(f"stub.Call(handle='{handle.id}', method='__len__')", f'int64: {size.result.int64}')

        stub.ReleaseHandle(pb.ReleaseHandleRequest(handles=[handle.id]), metadata=metadata)
        show(f"stub.ReleaseHandle(handles=['{handle.id}'])", 'nobody else holds it: forgotten')

        try:
            stub.Call(request)
        except grpc.RpcError as error:
            show('the first call again, without the authkey', error.code())


def show_grpcurl(address: str, authkey: bytes) -> None:
    title('6. The same actor from a terminal')
    grpcurl = shutil.which('grpcurl')
    if grpcurl is None:
        print('  grpcurl is not on the path, so this is left out.')
        return
    ((key, value),) = uactor.call_metadata(authkey)
    data = '{"method": "search", "args": [{"string": "heap queue"}, {"int64": 1}]}'
    place = ['-unix', address.removeprefix('unix:'), 'uactor.v1.ActorService/Call']
    print("  grpcurl -plaintext -H 'authorization: Bearer ...' \\")
    print(f"      -d '{data}' \\\n      {' '.join(place)}")
    command = [grpcurl, '-plaintext', '-H', f'{key}: {value}', '-d', data, *place]
    quote(subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout)


def show_death(index: Index) -> None:
    title('7. A call always ends, also when the actor is killed')
    process = index._manager.process
    if process is not None:
        print('  index._manager.process.kill()')
        process.kill()
        process.join()
    try:
        index.search('anything')
    except uactor.ActorDiedError as error:
        show("index.search('anything')", f'{type(error).__name__}, which is an EOFError too')


def main() -> None:
    log_format = '      | %(levelname)s %(name)s: %(message)s'
    logging.basicConfig(stream=sys.stdout, format=log_format)
    print(f'uactor {uactor.__version__} on Python {platform.python_version()}')
    library = Library()
    index = Index(library)
    authkey, address = multiprocessing.current_process().authkey, str(index.connection_address)
    with library:
        show_actors(library, index)
        show_callbacks(library, index)
        show_proxies(library, index)
        show_errors(library)
        show_grpc(address, authkey)
        show_grpcurl(address, authkey)
        show_death(index)
    processes = (actor._manager.process for actor in (library, index))
    codes = [process.exitcode for process in processes if process is not None]
    show('after the block: the exit codes of library and index', codes)


main()
