"""Modules that start actors while they are imported: none multiplies processes, and they work."""

from __future__ import annotations

import importlib.machinery
import pathlib
import re
import sys
import types

import pytest

import uactor
from tests.support import in_full
from tests.support.programs import get_output, run_python
from uactor.launch import module_starts, start_guard

pytestmark = [pytest.mark.pythons('imports')]


both_ways = pytest.mark.usefixtures('launcher')
usual_way = pytest.mark.usefixtures('usual_launcher')

CACHE = """
import uactor
{options}
class Key(str):
    pass

class Cache(uactor.Actor):
    def __init__(self):
        self.found = {{}}
        self.puts = 0

    def put(self, key, value):
        self.found[key] = value
        self.puts += 1

    def get(self, key):
        return self.found.get(key), isinstance(key, Key)

    def count(self):
        return self.puts

    def helped(self):
        return help_out()

    def among(self):
        return cache.count(), sorted(name for name in globals() if name[:2] == 'my')
"""

# What a module named `app` does at its end, what the program does with it, and what that prints.
PROGRAMS = {
    'a global': (
        'cache = Cache()',
        "app.cache.put('a', 1); print(app.cache.get('a'), app.cache.get(app.Key('a')))",
        '(1, False) (1, True)',
    ),
    'what follows the start': (
        'cache = Cache()\ndef help_out(): return "helped"\nmy_own = 5',
        'print(app.cache.helped(), app.cache.among())',
        "helped (0, ['my_own'])",
    ),
    'a function with keyword defaults behind a call': (
        "cache = Cache()\ncache.put('a', 1)\ndef help_out(*, by=2): return by",
        'print(app.Cache().helped())',
        '2',
    ),
    'calls at module level': (
        "cache = Cache()\ncache.put('a', 1)\nfound = cache.get('a')",
        "print(app.found, app.cache.count(), app.cache.get('a'))",
        '(1, False) 1 (1, False)',
    ),
    'a class behind a call': (
        "cache = Cache()\ncache.put('a', 1)\nclass Late(str): pass",
        "app.cache.put('b', app.Late('late')); print(app.cache.get('b'), app.cache.count())",
        "('late', False) 2",
    ),
    'an actor behind a call of another one': (
        "cache = Cache()\ncache.put('a', 1)\n"
        'class Second(Cache):\n    def both(self): return cache.count(), self.count()\n'
        'second = Second()\nsecond.put(1, 1)\nsecond.put(2, 2)',
        'print(app.cache.count(), app.second.both(), app.second.count())',
        '1 (1, 2) 2',
    ),
    'what pickles by its name alone, behind a call': (
        'import functools, typing\n'
        "cache = Cache()\ncache.put('a', 1)\n"
        '@functools.lru_cache\ndef memo(x): return x * 2\n'
        "UserId = typing.NewType('UserId', int)\n"
        'class Missing:\n    def __reduce__(self): return "MISSING"\n'
        'MISSING = Missing()\ndef find(): return MISSING\n'
        'class Late(Cache):\n'
        '    def all(self): return memo(2), UserId(3), find() is MISSING\n'
        'late = Late()',
        'print(app.late.all(), app.Late().all(), app.memo.cache_info().currsize)',
        '(4, 3, True) (4, 3, True) 0',
    ),
    'an actor whose class is behind a call': (
        'class User(uactor.Actor):\n    def get(self): return late.count()\n'
        "cache = Cache()\ncache.put('a', 1)\n"
        'class Late(Cache): pass\nlate = Late()',
        'print(app.User().get())',
        '0',
    ),
    'several of one class': (
        'caches = {n: Cache() for n in range(3)}',
        '[app.caches[n].put(n, n) for n in app.caches]\n'
        'print([app.caches[n].get(n)[0] for n in app.caches], app.caches[0].count())',
        '[0, 1, 2] 1',
    ),
    'an actor as an argument of another one': (
        'class User(uactor.Actor):\n'
        '    def __init__(self, cache): self.cache = cache\n'
        '    def get(self): return self.cache.count(), cache.count(), self.cache == cache\n'
        'cache = Cache()\nuser = User(cache)',
        "app.cache.put('a', 1); print(app.user.get())",
        '(1, 1, True)',
    ),
    'in a function': (
        'def make(): return Cache()\ncache = make()',
        'print(app.cache.count())',
        '0',
    ),
    'in a class': (
        'class Service:\n    cache = Cache()',
        'print(app.Service.cache.count())',
        '0',
    ),
    'in a block': (
        "with Cache() as cache:\n    cache.put('a', 1)\n    found = cache.get('a')",
        'print(app.found)',
        '(1, False)',
    ),
    'dropped at once': ("found = Cache().get('a')", 'print(app.found)', '(None, False)'),
    'asynchronously': (
        'import asyncio\nasync def main(): return await Cache.aio()\ncache = asyncio.run(main())',
        'print(app.cache.count())',
        '0',
    ),
    'registered at exit': (
        'import atexit\ncache = Cache()\natexit.register(cache.shutdown)',
        'print(app.cache.count())',
        '0',
    ),
    'a start that fails': (
        'class Broken(uactor.Actor):\n    def __init__(self): raise ValueError\n'
        'try: broken = Broken()\nexcept ValueError: broken = None\ncache = Cache()',
        'print(app.broken, app.cache.count())',
        'None 0',
    ),
    'a method that imports the module': (
        'class Importer(uactor.Actor):\n'
        '    def get(self):\n        import app\n        return app.cache.count()\n'
        'cache = Cache()\nimporter = Importer()',
        "app.cache.put('a', 1); print(app.importer.get())",
        '1',
    ),
    'a constructor that imports the module': (
        'class Importer(uactor.Actor):\n'
        '    def __init__(self):\n        import app\n        self.app = app\n'
        '    def get(self): return self.app.cache.count()\n'
        'cache = Cache()\nimporter = Importer()',
        "app.cache.put('a', 1); print(app.importer.get())",
        '1',
    ),
    'a constructor that uses another one': (
        'class User(uactor.Actor):\n'
        '    def __init__(self):\n        cache.put(1, 1)\n        self.key = Key("a")\n'
        '    def get(self): return cache.count(), self.key\n'
        'cache = Cache()\nuser = User()\nuser.get()',
        'print(app.user.get())',
        "(1, 'a')",
    ),
    'repr': ('cache = Cache()\ntext = repr(cache)', 'print("Cache" in app.text)', 'True'),
    'a function that is defined before and used by the actor': (
        "def help_out(): return later\ncache = Cache()\ncache.put('a', 1)\nlater = 'late'",
        'print(app.cache.count())',
        '1',
    ),
}


def write(directory: pathlib.Path, **modules: str) -> None:
    for name, source in modules.items():
        (directory / f'{name}.py').write_text(source)


@usual_way
@pytest.mark.parametrize('program', PROGRAMS)
def test_a_module_starts_actors_at_its_import(program: str, tmp_path: pathlib.Path) -> None:
    end, use, printed = PROGRAMS[program]
    write(tmp_path, app=CACHE.format(options='') + end, main=f'import app\n{use}')
    assert get_output(run_python(str(tmp_path / 'main.py'))) == printed + '\n'


USERS = {
    'an actor of the main module uses it': """
import uactor, app
class User(uactor.Actor):
    def get(self):
        return app.cache.count()
app.cache.put('a', 1)
print(User().get())
""",
    'an argument is of it': """
import uactor, app
class User(uactor.Actor):
    def __init__(self, key):
        self.key = key
    def get(self, other):
        import app
        return isinstance(self.key, app.Key), isinstance(other, app.Key), app.cache.count()
app.cache.put('a', 1)
print(*User(app.Key('a')).get(app.Key('b')))
""",
    'a method imports it': """
import uactor
class User(uactor.Actor):
    def get(self):
        import app
        app.cache.put('a', 1)
        return app.cache.count()
print(User().get())
""",
    'an actor of an actor uses it': """
import uactor, app
class Inner(uactor.Actor):
    def get(self):
        return app.cache.count()
class Outer(uactor.Actor):
    def get(self):
        return Inner().get()
app.cache.put('a', 1)
print(Outer().get())
""",
    'a thread of the actor uses it': """
import uactor, app
from concurrent.futures import ThreadPoolExecutor
class User(uactor.Actor):
    def get(self):
        with ThreadPoolExecutor(8) as pool:
            return sum(pool.map(lambda _: app.cache.count(), range(8))) // 8
app.cache.put('a', 1)
print(User().get())
""",
    'a proxy goes on to another actor': """
import uactor, app
class User(uactor.Actor):
    def give(self):
        return app.cache
    def use(self, cache):
        return cache.count()
app.cache.put('a', 1)
given = User().give()
assert given == app.cache
print(User().use(given))
""",
}


@usual_way
@pytest.mark.parametrize('end', ['cache = Cache()', "cache = Cache()\ncache.get('warm')"])
@pytest.mark.parametrize('user', USERS)
def test_an_actor_started_at_import_is_used_by_other_actors(
    user: str, end: str, tmp_path: pathlib.Path
) -> None:
    write(tmp_path, app=CACHE.format(options='') + end, main=USERS[user])
    expected = 'True True 1\n' if 'argument' in user else '1\n'
    assert get_output(run_python(str(tmp_path / 'main.py'))) == expected


@usual_way
def test_modules_that_import_each_other_start_actors(tmp_path: pathlib.Path) -> None:
    write(
        tmp_path,
        actors='import uactor\nclass Cache(uactor.Actor):\n    def get(self): return 5',
        first='from actors import Cache\none = Cache()\nimport second',
        second='from actors import Cache\nimport first\ntwo = Cache()\nsum = first.one.get()',
        main='import first\nprint(first.second.sum, first.one.get(), first.second.two.get())',
    )
    assert get_output(run_python(str(tmp_path / 'main.py'))) == '5 5 5\n'


@usual_way
def test_a_package_starts_an_actor(tmp_path: pathlib.Path) -> None:
    package = tmp_path / 'app'
    package.mkdir()
    write(package, __init__='from app.cache import Cache\ncache = Cache()\ncache.get()')
    write(package, cache='import uactor\nclass Cache(uactor.Actor):\n    def get(self): return 5')
    write(tmp_path, main='import app.cache\nprint(app.cache.get(), app.cache.Cache().get())')
    done = run_python('-c', 'import app; print(app.cache.get())', directory=tmp_path)
    assert get_output(done) == '5\n'


POOLED = """
import multiprocessing, os, uactor
pool = multiprocessing.Pool(2)
class Cache(uactor.Actor):
    def pids(self):
        return os.getpid(), pool.apply(os.getpid), pool._ctx.get_start_method()
cache = Cache()
"""


USES_POOL = """
import os, app
if __name__ == '__main__':
    actor, worker, method = app.cache.pids()
    print(len({os.getpid(), actor, worker}), method)
    app.pool.terminate()
"""


@usual_way
def test_a_module_has_a_pool_as_well(tmp_path: pathlib.Path) -> None:
    """Its workers don't come of a fork of the actor: they would keep its sockets, and its owner."""
    write(tmp_path, app=POOLED, main=USES_POOL)
    assert get_output(run_python(str(tmp_path / 'main.py'))) == '3 forkserver\n'


@usual_way
def test_a_test_module_starts_an_actor(tmp_path: pathlib.Path) -> None:
    end = "cache = Cache()\ndef test():\n    cache.put('a', 1)\n    assert cache.count() == 1\n"
    write(tmp_path, test_app=CACHE.format(options='') + end)
    for mode in ('prepend', 'importlib'):
        options = '-q', '-p', 'no:cacheprovider', f'--import-mode={mode}'
        done = run_python('-m', 'pytest', *options, directory=tmp_path)
        assert '1 passed' in done.stdout, (mode, done.stdout, done.stderr)


# --- what is refused ----------------------------------------------------------------------------


@usual_way
def test_a_start_that_the_owner_has_not_made_is_told_by_module_and_line(
    tmp_path: pathlib.Path,
) -> None:
    write(
        tmp_path,
        actors='import uactor\nclass Cache(uactor.Actor):\n    def get(self): return 5',
        hidden='from actors import Cache\n\ncache = Cache()',
        app="""
import os, uactor
if os.getpid() != int(os.environ.setdefault('MAIN', str(os.getpid()))):
    import hidden
class User(uactor.Actor):
    def get(self):
        return hidden.cache.get()
""",
        main="""
import app
try:
    app.User().get()
except ConnectionRefusedError as error:
    print(error)
""",
    )
    printed = get_output(run_python(str(tmp_path / 'main.py')))
    assert re.search(r'actors\.Cache that line 3 of module hidden starts', printed)
    assert 'hidden has not been imported' in printed


@usual_way
def test_an_unpicklable_class_is_reported_with_the_reason(tmp_path: pathlib.Path) -> None:
    end = (
        "cache = Cache()\ncache.put('a', 1)\n"
        'import threading\nlock = threading.Lock()\n'
        'class Late(Cache):\n    def get(self):\n        with lock: return 5\n'
    )
    main = 'import app\ntry: app.Late()\nexcept Exception as error: print(error)'
    write(tmp_path, app=CACHE.format(options='') + end, main=main)
    told = get_output(run_python(str(tmp_path / 'main.py')))
    assert "module 'app' has 'Late' only in the process that has started this one" in told
    assert "cannot pickle '_thread.lock' object" in told


@usual_way
def test_an_actor_that_has_ended_is_told(tmp_path: pathlib.Path) -> None:
    write(
        tmp_path,
        app=CACHE.format(options='') + 'cache = Cache()',
        main="""
import uactor, app
class User(uactor.Actor):
    def get(self):
        return app.cache.count()
app.cache.shutdown()
try:
    User().get()
except ConnectionRefusedError as error:
    print(error)
""",
    )
    printed = get_output(run_python(str(tmp_path / 'main.py')))
    assert 'of module app starts has ended' in printed


ENDLESS = {
    'a constructor': """
import uactor
class Chain(uactor.Actor):
    def __init__(self):
        self.next = Chain()
""",
    'two in a constructor': """
import uactor
class Chain(uactor.Actor):
    def __init__(self):
        self.next = [Chain(), Chain()]
""",
}


@both_ways
@pytest.mark.parametrize('launcher', ['template'], indirect=True)
@pytest.mark.parametrize('program', ENDLESS)
def test_actors_that_start_each_other_without_end_are_refused(
    program: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The depth of a test run by itself, so that it takes no minute to get to the end.
    monkeypatch.setenv('UACTOR_DEPTH', '62')
    write(
        tmp_path,
        app=ENDLESS[program],
        main='import app\ntry: app.Chain()\nexcept Exception as error: print(error)',
    )
    printed = get_output(run_python(str(tmp_path / 'main.py')))
    assert printed == 'actors have started each other 64 levels deep, which is the limit\n'


def test_the_largest_depth_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('UACTOR_DEPTH', str(start_guard.MAX_DEPTH - 1))
    start_guard.check_start()
    monkeypatch.setenv('UACTOR_DEPTH', str(start_guard.MAX_DEPTH))
    with pytest.raises(uactor.ActorStartError, match='64 levels deep'):
        start_guard.check_start()


@usual_way
def test_a_thread_of_an_import_starts_nothing_in_an_actor_process(tmp_path: pathlib.Path) -> None:
    write(
        tmp_path,
        app="""
import os, threading, uactor
class Cache(uactor.Actor):
    def pids(self):
        return os.getpid(), said
said = []
def start():
    gate.wait()
    try:
        said.append(Cache().pids())
    except uactor.ActorStartError as error:
        said.append(str(error))
gate = threading.Event()
thread = threading.Thread(target=start, name='of the module', daemon=True)
thread.start()
class Opener(Cache):
    def open(self):
        gate.set()
        thread.join()
        return said
""",
        main='import app\nprint(app.Opener().open())',
    )
    assert "the thread 'of the module'" in get_output(run_python(str(tmp_path / 'main.py')))


SHADOW = """
import os, uactor
with open(os.environ['COUNTER'], 'a') as counter:
    counter.write('.')
if os.path.getsize(os.environ['COUNTER']) > 20:
    os._exit(9)
class Cache(uactor.Actor):
    def get(self):
        return 5
cache = Cache()
"""


@usual_way
@pytest.mark.parametrize(
    'name', ['glob', 'csv', *in_full('fractions', 'shelve', 'calendar', 'statistics')]
)
@pytest.mark.unmeasured
def test_a_file_with_the_name_of_a_standard_module_starts_an_actor(
    name: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('COUNTER', str(tmp_path / 'counter'))
    write(tmp_path, **{name: SHADOW})
    write(tmp_path, main=f'import {name}\nprint({name}.cache.get())')
    done = run_python(str(tmp_path / 'main.py'))
    if name in sys.stdlib_module_names and 'partially initialized' in done.stderr:
        return  # uactor needs the module of that name: the program cannot even import it
    assert get_output(done) == '5\n'


@both_ways
def test_sitecustomize_can_start_no_actor(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('COUNTER', str(tmp_path / 'counter'))
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    write(tmp_path, sitecustomize=SHADOW)
    run_python('-c', 'pass')
    assert (tmp_path / 'counter').stat().st_size < 6


@usual_way
def test_a_module_of_a_package_that_is_being_imported_uses_its_actor(
    tmp_path: pathlib.Path,
) -> None:
    package = tmp_path / 'shop'
    package.mkdir()
    cache = """
import uactor
class Cache(uactor.Actor):
    def set(self, key): return key
class Settings: pass
cache = Cache()
cache.set('warm')
settings = Settings()
"""
    users = """
import uactor
from .cache import cache
class Users(uactor.Actor):
    def get(self): return cache.set('a')
users = Users()
"""
    write(package, __init__='from . import users', cache=cache, users=users)
    write(tmp_path, main='import shop.users\nprint(shop.users.users.get())')
    assert get_output(run_python(str(tmp_path / 'main.py'))) == 'a\n'


def test_the_starts_of_a_module_that_is_imported_anew_are_counted_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    site = module_starts.Site('anew', 1, ('anew',))
    for _ in range(2):
        module = types.ModuleType('anew')
        module.__spec__ = importlib.machinery.ModuleSpec('anew', None)
        monkeypatch.setitem(sys.modules, 'anew', module)
        numbers = [module_starts.register_start(site, uactor.Actor).ident.number for _ in range(3)]
        assert numbers == [0, 1, 2]
