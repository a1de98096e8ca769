"""The ``uactor`` command, which serves an actor and helps to call it.

It serves the actor in the foreground.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import multiprocessing
import os
import secrets
import shlex
import shutil
import signal
import sys
import traceback
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any, NoReturn

from uactor import __version__
from uactor.actor import Actor, read_options
from uactor.bootstrap import create_host, end_host, exit_process, restore_signals_in_children
from uactor.cli import examples, inspect
from uactor.core import auth, current_host
from uactor.errors import AddressError
from uactor.host.process import HostProcess
from uactor.host.settings import Settings
from uactor.launch.start import choose_private_directory
from uactor.options import ActorOptions
from uactor.v1 import actor_pb2 as pb


class _CommandError(Exception):
    """An error that the command prints in one line.

    :ivar status: exit status: 2 for bad input, 1 if the actor could not be created.
    """

    def __init__(self, message: str, status: int = 2) -> None:
        super().__init__(message)
        self.status = status


class _Stopped(BaseException):
    """A signal has stopped the command before there was an actor."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status, or exit with it.

    :param argv: its words; None for those of the command line.
    """
    options = _parse(list(sys.argv[1:] if argv is None else argv))
    status = 0
    try:
        options.run(options)
    except _CommandError as error:
        print(f'uactor {options.command}: {error}', file=sys.stderr)
        status = error.status
    if current_host.host is not None:  # the host has threads that may never end
        exit_process(status)
    return status


# --- words ---------------------------------------------------------------------------------------


def _parse(words: list[str]) -> argparse.Namespace:
    arguments: list[str] = []
    if '--' in words:  # argparse would read words behind it that begin with '-' as options
        position = words.index('--')
        words, arguments = words[:position], words[position + 1 :]
    parser = _create_parser()
    options, unknown = parser.parse_known_args(words)
    if unknown:
        hint = '; arguments of the constructor follow --' if options.command == 'serve' else ''
        parser.error(f'unrecognized arguments: {" ".join(unknown)}{hint}')
    if arguments and options.command not in ('serve', 'call'):
        parser.error('only serve and call take arguments after --')
    options.arguments = [*getattr(options, 'words', ()), *arguments]
    return options


def _create_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='uactor', description='Actors served over gRPC.')
    parser.add_argument('--version', action='version', version=f'uactor {__version__}')
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    serve = commands.add_parser(
        'serve',
        usage='uactor serve MODULE:CLASS [--address ADDRESS] [--authkey-file FILE] [-- JSON ...]',
        help='run an actor in the foreground',
        description='Run an actor in the foreground, until SIGTERM or Ctrl-C. What follows -- goes '
        'to its constructor: each word is a JSON value, or name=JSON.',
    )
    serve.add_argument('target', metavar='MODULE:CLASS', help='the actor class')
    serve.add_argument(
        '--address',
        help='where to listen: unix:/path or host:port; by default what the class says, or a Unix '
        'socket in a private directory',
    )
    serve.add_argument(
        '--authkey-file',
        metavar='FILE',
        help='holds what callers must know; by default a new random key, in a private file',
    )
    serve.set_defaults(run=_serve)
    _add_inspections(commands)
    header = commands.add_parser(
        'header',
        help='print the metadata that calls need',
        description='Print the gRPC metadata that the authkey in a file makes.',
    )
    header.add_argument('keyfile', metavar='KEYFILE', help='the file with the authkey')
    header.set_defaults(run=_print_header)
    return parser


def _add_inspections(commands: Any) -> None:
    def add(name: str, run: Callable[..., None], help: str, description: str) -> Any:
        command = commands.add_parser(
            name, help=help, description=f'{help.capitalize()}. {description}'
        )
        command.add_argument('address', metavar='ADDRESS', help='unix:/path or host:port')
        command.add_argument(
            '--authkey-file',
            metavar='FILE',
            help='holds the authkey of the actor; by default it is in UACTOR_AUTHKEY',
        )
        command.set_defaults(run=lambda options: _inspect(run, options))
        return command

    describe = add(
        'describe', _print_description, 'tell what a running actor has', 'And what shares it.'
    )
    handles = add(
        'handles', _print_handles, 'list the objects that an actor shares', 'With their holds.'
    )
    for command in (describe, handles):
        command.add_argument('--json', action='store_true', help='print JSON')
    call = add(
        'call',
        _print_call,
        'call a method of a running actor',
        'Or read or write an attribute. A generator prints its items. Each word after the '
        'method is a JSON value, name=JSON, or @ID for an object that the actor shares; after '
        '-- it may begin with -.',
    )
    call.add_argument('method', metavar='METHOD', help='the method or attribute')
    call.add_argument('words', metavar='JSON', nargs='*', help='its arguments')
    call.add_argument(
        '--handle', metavar='ID', default='', help='of which object, if not the actor'
    )


def _parse_arguments(words: Sequence[str]) -> tuple[list[Any], dict[str, Any]]:
    """Return positional and keyword arguments from words of the command line."""
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition('=')
        if not equals or not name.isidentifier():
            args.append(_parse_json(word))
        elif name in kwargs:
            raise _CommandError(f'the argument {name!r} is given twice')
        else:
            kwargs[name] = _parse_json(text)
    return args, kwargs


def _parse_json(text: str) -> Any:
    if text.startswith('@'):
        return pb.Handle(id=text[1:])
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise _CommandError(
            f'the argument {text!r} is not JSON ({error}); quote a string twice: \'"text"\''
        ) from None


# --- the class -----------------------------------------------------------------------------------


def _find_actor_class(target: str) -> type[Actor]:
    """Import the class that ``MODULE:CLASS`` names, also from the current directory."""
    module_name, _, name = target.partition(':')
    if not module_name or not name:
        raise _CommandError(f'{target!r} names no class; write MODULE:CLASS')
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found = attrgetter(name)(_import_module(module_name))
    except AttributeError:
        raise _CommandError(f'the module {module_name!r} has no {name!r}') from None
    if not isinstance(found, type) or not issubclass(found, Actor):
        raise _CommandError(f'{target} is no class derived from uactor.Actor')
    return found


def _import_module(name: str) -> types.ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing is not None and f'{name}.'.startswith(f'{missing}.'):
            raise _CommandError(f'there is no module {missing!r}') from None
        raise _CommandError(f'cannot import {name!r}: {_describe_error(error)}') from error


def _describe_error(error: BaseException) -> str:
    """Return an exception in one line, with its place in the program."""
    text = ' '.join(''.join(traceback.format_exception_only(error)).split())
    frames = traceback.extract_tb(error.__traceback__)
    if not frames or frames[-1].filename.startswith(_LIBRARY_PREFIXES):
        return text
    return f'{text} ({frames[-1].filename}:{frames[-1].lineno})'


_LIBRARY_PREFIXES = (
    f'{Path(__file__).parents[1]}{os.sep}',
    f'{Path(str(importlib.__file__)).parent}{os.sep}',
    '<frozen importlib',
)


# --- authkeys ------------------------------------------------------------------------------------


def _print_header(options: argparse.Namespace) -> None:
    for key, value in auth.call_metadata(_read_authkey(options.keyfile)):
        print(f'{key}: {value}')


def _read_authkey(path: str | Path) -> bytes:
    """Return the content of an authkey file without its final newline.

    Editors append that newline.
    """
    try:
        authkey = Path(path).read_bytes().removesuffix(b'\n')
    except OSError as error:
        raise _CommandError(f'cannot read {str(path)!r}: {error.strerror}') from None
    if not authkey:
        raise _CommandError(f'the authkey file {str(path)!r} is empty')
    return authkey


# --- inspecting an actor -------------------------------------------------------------------------


def _inspect(run: Callable[..., None], options: argparse.Namespace) -> None:
    if options.authkey_file is not None:
        authkey = _read_authkey(options.authkey_file)
    else:
        authkey = os.environb.get(b'UACTOR_AUTHKEY', b'')
        if not authkey:
            raise _CommandError('which authkey? Give --authkey-file, or set UACTOR_AUTHKEY')
    try:
        with inspect.connect(options.address, authkey) as actor:
            run(actor, options)
    except AddressError as error:
        raise _CommandError(str(error)) from None
    except inspect.CallError as error:
        raise _CommandError(str(error), status=1) from None


def _print_description(actor: inspect.RunningActor, options: argparse.Namespace) -> None:
    print(actor.describe_as_json() if options.json else actor.describe())


def _print_handles(actor: inspect.RunningActor, options: argparse.Namespace) -> None:
    print(actor.list_handles_as_json() if options.json else actor.handles())


def _print_call(actor: inspect.RunningActor, options: argparse.Namespace) -> None:
    args, kwargs = _parse_arguments(options.arguments)
    for text in actor.call(options.handle.removeprefix('@'), options.method, args, kwargs):
        print(text, flush=True)


# --- serving -------------------------------------------------------------------------------------


def _serve(options: argparse.Namespace) -> None:
    _handle_signals(_stop_early)
    try:
        actor_class = _find_actor_class(options.target)
        args, kwargs = _parse_arguments(options.arguments)
        with _make_private_directory() as directory:
            actor_options = _read_actor_options(actor_class)
            keyfile = _provide_keyfile(options.authkey_file, actor_options.authkey, directory)
            settings = _create_settings(actor_options, options.address, keyfile, directory)
            _serve_until_stopped(actor_class, settings, args, kwargs, keyfile)
    except _Stopped:
        return


@contextlib.contextmanager
def _make_private_directory() -> Iterator[Path]:
    path = Path(choose_private_directory())
    path.mkdir(0o700)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _read_actor_options(actor_class: type[Actor]) -> ActorOptions:
    try:
        return ActorOptions.select(read_options(actor_class))
    except (AddressError, TypeError, ValueError) as error:
        raise _CommandError(f'{actor_class.__qualname__}._options_: {error}') from error


def _provide_keyfile(path: str | None, authkey: bytes | None, directory: Path) -> Path:
    """Return the authkey file; write it if the command line names none.

    :param path: the file that the command line names.
    :param authkey: the key of the class; a random one takes its place if there is none.
    """
    if path is not None:
        return Path(path).absolute()
    created = directory / 'authkey'
    with os.fdopen(os.open(created, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), 'wb') as file:
        file.write((authkey or secrets.token_hex(32).encode()) + b'\n')
    return created


def _create_settings(
    options: ActorOptions, address: str | None, keyfile: Path, directory: Path
) -> Settings:
    """Return the settings of the host.

    Those of the command line precede those of the class.
    """
    return Settings(
        address or options.address or f'unix:{directory}/s',
        _read_authkey(keyfile),
        **options.for_host(),
    )


def _serve_until_stopped(
    actor_class: type[Actor],
    settings: Settings,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    keyfile: Path,
) -> None:
    try:
        host = create_host(actor_class, settings)
    except AddressError as error:
        raise _CommandError(str(error)) from None
    # Actors that this actor starts are of its family: its callers may call them, too.
    multiprocessing.current_process().authkey = settings.authkey
    multiprocessing.current_process().name = actor_class.__qualname__
    restore_signals_in_children({number: _SIGNALS[number] for number in _list_stop_signals()})
    try:
        host.start()
        _construct(host, args, kwargs)
        _handle_signals(host.request_stop)
        _announce(host, keyfile)
        host.wait_for_stop()
    finally:
        _handle_signals(host.request_stop)
        end_host(host)


def _construct(host: HostProcess, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    try:
        host.construct(args, kwargs)
    except (Exception, SystemExit) as error:
        raise _CommandError(_describe_error(error), status=1) from error


def _announce(host: HostProcess, keyfile: Path) -> None:
    if sys.stdout is None:
        return
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # for pipes
    print(f'{type(host.instance).__qualname__} listens at {host.target}')
    command = f'-H "$({_find_own_command()} header {shlex.quote(str(keyfile))})"'
    lines = examples.create_examples(
        host.instance, host.typed_service.schema(), host.target, command
    )
    sys.stdout.writelines(f'{line}\n' for line in lines)


# --- signals -------------------------------------------------------------------------------------

_SIGNALS: dict[int, Any] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
    signal.SIGHUP: signal.SIG_DFL,
}
"""The signals that stop the command, and their handlers in processes that the actor forks."""


def _list_stop_signals() -> list[int]:
    """Return the signals that stop the command.

    A signal that is ignored, as by nohup, does not.
    """
    return [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]


def _handle_signals(action: Callable[[], object]) -> None:
    for number in _list_stop_signals():
        signal.signal(number, lambda _number, _frame: action())


def _stop_early() -> NoReturn:
    raise _Stopped


# --- itself --------------------------------------------------------------------------------------


def _find_own_command() -> str:
    """Return the words that call this command in a shell."""
    script = Path(sys.argv[0]).absolute()
    if script.name == '__main__.py':
        return f'{shlex.quote(sys.executable)} -m uactor'
    found = shutil.which(script.name)
    if found is not None and script.samefile(found):
        return script.name
    return shlex.quote(str(script))
