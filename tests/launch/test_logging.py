"""What an actor takes over of its owner's logging, and where its records go."""

from __future__ import annotations

import contextvars
import io
import json
import logging
import logging.handlers
import multiprocessing
import multiprocessing.util
import os
import pathlib
import pickle
import queue
import signal
import socket
import sys
import textwrap
import threading
import time
import types
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support import Actor, eventually
from tests.support.programs import get_output, run_python
from uactor.launch import log_channel
from uactor.launch.log_channel import MAX_RECORDS
from uactor.launch.log_records import SentRecord, encode_record, rebuild_record
from uactor.launch.log_setup import capture_logging
from uactor.launch.log_targets import LogTargets

NAME = 'test.logging'


class Logging(Actor):
    """Runs what it is given in its process, logging among it."""

    _exposed_ = ('run', 'log')

    def run(self, call: Callable[..., Any], *args: Any) -> Any:
        return call(*args)

    def log(self, *args: Any, **options: Any) -> None:
        logging.getLogger(NAME).info(*args, **options)


class Collecting(logging.Handler):
    """Keeps records in memory, where only this process finds them."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self.processes: set[int] = set()

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        self.processes.add(os.getpid())

    @property
    def messages(self) -> list[str]:
        return [record.getMessage() for record in self.records]


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """A logger at level INFO, without what it was given when the test ends."""
    logger = logging.getLogger(NAME)
    logger.setLevel(logging.INFO)
    yield logger
    for handler in tuple(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    logger.filters.clear()
    logger.setLevel(logging.NOTSET)


@pytest.fixture
def collecting(logger: logging.Logger) -> Collecting:
    """A handler whose records travel."""
    handler = Collecting()
    logger.addHandler(handler)
    return handler


def types_of_handlers() -> list[str]:
    return [type(handler).__name__ for handler in logging.getLogger(NAME).handlers]


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate()]


# --- formatters -----------------------------------------------------------------------------------


class JsonFormatter(logging.Formatter):
    """Wants arguments, and names things in a way of its own."""

    def __init__(self, *, fields: tuple[str, ...]) -> None:
        super().__init__()
        self.fields = fields

    def format(self, record: logging.LogRecord) -> str:
        return json.dumps({name: getattr(record, name) for name in self.fields})


def by_value() -> logging.Formatter:
    class Local(logging.Formatter):
        def __init__(self, prefix: str) -> None:
            super().__init__('%(message)s')
            self.lock = threading.Lock()
            self.prefix = prefix

        def format(self, record: logging.LogRecord) -> str:
            with self.lock:
                return self.prefix + super().format(record)

    return Local('> ')


def in_utc() -> logging.Formatter:
    formatter = logging.Formatter('%(asctime)s %(message)s', '%H')
    formatter.converter = lambda seconds: time.gmtime(0)
    return formatter


def with_milliseconds() -> logging.Formatter:
    formatter = logging.Formatter('%(asctime)s')
    formatter.default_time_format, formatter.default_msec_format = 'at', None
    return formatter


FORMATTERS: dict[str, tuple[Callable[[], Any], str]] = {
    'none': (lambda: None, 'said'),
    'percent': (lambda: logging.Formatter('%(levelname)s %(message)s'), 'INFO said'),
    'brace': (lambda: logging.Formatter('{levelname:>6} {message}', style='{'), '  INFO said'),
    'dollar': (lambda: logging.Formatter('$levelname ${message}', style='$'), 'INFO said'),
    'not valid': (lambda: logging.Formatter('plain', style='{', validate=False), 'plain'),
    'defaults': (
        lambda: logging.Formatter('%(who)s %(message)s', defaults={'who': 'me'}),
        'me said',
    ),
    'arguments': (
        lambda: JsonFormatter(fields=('levelname', 'msg')),
        '{"levelname": "INFO", "msg": "said"}',
    ),
    'by value': (by_value, '> said'),
    'converter': (in_utc, '00 said'),
    'milliseconds': (with_milliseconds, 'at'),
    'no formatter': (
        lambda: types.SimpleNamespace(format=lambda record: 'any object'),
        'any object',
    ),
}


@pytest.mark.parametrize('kind', FORMATTERS)
def test_formatters_are_taken_over(
    kind: str, logger: logging.Logger, tmp_path: pathlib.Path
) -> None:
    make, expected = FORMATTERS[kind]
    handler = logging.FileHandler(tmp_path / 'log')
    handler.setFormatter(make())
    logger.addHandler(handler)
    with Logging() as actor:
        actor.log('said')
        assert actor.run(types_of_handlers) == ['FileHandler']
    assert (tmp_path / 'log').read_text() == f'{expected}\n'


def test_a_formatter_that_can_not_be_pickled_formats_in_the_owner(
    logger: logging.Logger, tmp_path: pathlib.Path
) -> None:
    class Bound(logging.Formatter):
        def __init__(self) -> None:
            super().__init__()
            self.file = pathlib.Path(os.devnull).open('w')  # noqa: SIM115

        def format(self, record: logging.LogRecord) -> str:
            return f'{os.getpid()} {record.getMessage()}'

    formatter = Bound()
    handler = logging.FileHandler(tmp_path / 'log')
    handler.setFormatter(formatter)
    logger.addHandler(handler)
    with Logging() as actor:
        actor.log('said')
    formatter.file.close()
    assert (tmp_path / 'log').read_text() == f'{os.getpid()} said\n'


def test_defaults_set_on_the_formatter_class_are_taken_over(
    logger: logging.Logger, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.Formatter, 'converter', time.gmtime)
    monkeypatch.setattr(logging.Formatter, 'default_msec_format', '%s.%03d')
    handler = logging.FileHandler(tmp_path / 'log')
    handler.setFormatter(logging.Formatter('%(asctime)s'))
    logger.addHandler(handler)
    with Logging() as actor:
        assert actor.run(lambda: logging.Formatter.converter) is time.gmtime
        actor.log('said')
    assert (tmp_path / 'log').read_text()[-5] == '.'


# --- handlers that are copied ---------------------------------------------------------------------


@pytest.mark.parametrize('kind', [logging.FileHandler, logging.handlers.WatchedFileHandler])
def test_files_are_appended_to(
    kind: type[logging.FileHandler], logger: logging.Logger, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / 'log'
    logger.addHandler(kind(path, encoding='utf-16-le', errors='replace'))
    logger.info('first')
    with Logging() as actor:
        assert actor.run(types_of_handlers) == [kind.__name__]
        actor.log('ä')
        logger.info('third')
        actor.log('fourth')
    assert path.read_text(encoding='utf-16-le') == 'first\nä\nthird\nfourth\n'


def test_records_travel_to_a_file_that_is_not_appended_to(
    logger: logging.Logger, tmp_path: pathlib.Path
) -> None:
    logger.addHandler(logging.FileHandler(tmp_path / 'log', mode='w'))
    logger.info('first')
    with Logging() as actor:
        actor.log('second')
    logger.info('third')
    assert (tmp_path / 'log').read_text() == 'first\nsecond\nthird\n'


def test_handlers_of_sockets_connect_by_themselves(logger: logging.Logger) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiving:
        receiving.bind(('localhost', 0))
        receiving.settimeout(10)
        logger.addHandler(logging.handlers.DatagramHandler(*receiving.getsockname()))
        logger.info('first')
        receiving.recv(1 << 16)
        with Logging() as actor:
            assert actor.run(types_of_handlers) == ['DatagramHandler']
            actor.log('said')
            assert pickle.loads(receiving.recv(1 << 16)[4:])['msg'] == 'said'


def test_handlers_of_syslog_reach_it(logger: logging.Logger) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiving:
        receiving.bind(('localhost', 0))
        receiving.settimeout(10)
        logger.addHandler(logging.handlers.SysLogHandler(receiving.getsockname()))
        with Logging() as actor:
            actor.log('said')
            assert receiving.recv(1 << 16).endswith(b'said\0')


class Stating(logging.Handler):
    """Says how it is pickled."""

    def __init__(self, path: pathlib.Path) -> None:
        super().__init__()
        self.path = path

    def __reduce__(self) -> Any:
        return Stating, (self.path,)

    def emit(self, record: logging.LogRecord) -> None:
        self.path.write_text(f'{os.getpid()} {record.getMessage()}')


def test_a_handler_that_says_how_it_is_pickled_is_copied(
    logger: logging.Logger, tmp_path: pathlib.Path
) -> None:
    logger.addHandler(Stating(tmp_path / 'log'))
    with Logging() as actor:
        actor.log('said')
        assert (tmp_path / 'log').read_text() == f'{actor.run(os.getpid)} said'


def test_a_handler_of_two_loggers_is_copied_once(
    logger: logging.Logger, tmp_path: pathlib.Path
) -> None:
    other = logging.getLogger(f'{NAME}.other')
    handler = logging.FileHandler(tmp_path / 'log')
    handler.name = 'a name'
    logger.addHandler(handler)
    other.addHandler(handler)

    def is_one() -> bool:
        [one], [two] = (logging.getLogger(name).handlers for name in (NAME, f'{NAME}.other'))
        return one is two and one.name == 'a name'

    try:
        with Logging() as actor:
            assert actor.run(is_one)
    finally:
        other.removeHandler(handler)


STREAMS = """
import logging, sys
import uactor

class Tee:
    def __init__(self, *streams):
        self.streams = streams

    def write(self, text):
        for stream in self.streams:
            stream.write(text)

    def __getattr__(self, name):
        return getattr(self.streams[0], name)

class Actor(uactor.Actor):
    def log(self):
        logging.getLogger().info('told')
        return [type(handler).__name__ for handler in logging.getLogger().handlers]

class Prefixed(logging.StreamHandler):
    def format(self, record):
        return '> ' + super().format(record)

kept = __import__('io').StringIO()
logging.getLogger().setLevel('INFO')
logging.getLogger().addHandler(logging.StreamHandler(sys.stdout))
logging.getLogger().addHandler(Prefixed(sys.__stdout__))
with Actor() as actor:
    print(actor.log())
logging.getLogger().handlers[:] = [logging.StreamHandler(Tee(sys.stdout, kept))]
with Actor() as actor:
    print(actor.log())
print(repr(kept.getvalue()))
"""


def test_standard_streams_are_those_of_the_actor_unless_they_write_elsewhere_too() -> None:
    printed = get_output(run_python('-c', STREAMS)).splitlines()
    assert printed[:3] == ['told', '> told', "['StreamHandler', 'Prefixed']"]
    assert sorted(printed[3:]) == ["'told\\n'", "['OwnerHandler']", 'told']


# --- handlers to which records travel -------------------------------------------------------------


class Refusing(Collecting):
    """Can't be pickled in an unusual way."""

    def __reduce__(self) -> Any:
        raise RuntimeError('on purpose')


class OfThreads(Collecting):
    """Holds what belongs to threads, as consoles do."""

    def __init__(self) -> None:
        super().__init__()
        self.buffer = threading.local()
        self.mutex = threading.RLock()


class Closed(Collecting):
    """Was closed, and is still attached."""

    def __init__(self) -> None:
        super().__init__()
        self.close()


@pytest.mark.usefixtures('usual_launcher')
@pytest.mark.parametrize('kind', [Collecting, Refusing, OfThreads, Closed])
def test_records_travel_to_handlers_of_the_owner(
    kind: type[Collecting], logger: logging.Logger
) -> None:
    handler = kind()
    logger.addHandler(handler)
    with Logging() as actor:
        pid = actor.run(os.getpid)
        actor.log('said %s', 'once')
    assert handler.messages == ['said once']
    assert handler.processes == {os.getpid()}
    [record] = handler.records
    assert (record.process, record.processName, record.args) == (pid, 'Logging', ('once',))


def test_records_travel_to_streams_and_buffers_in_memory(logger: logging.Logger) -> None:
    stream = io.StringIO()
    target = logging.StreamHandler(stream)
    target.setFormatter(logging.Formatter('{levelname} {message}', style='{'))
    logger.addHandler(target)
    logger.addHandler(logging.handlers.MemoryHandler(100, target=target))
    with Logging() as actor:
        actor.log('said')
    assert stream.getvalue() == 'INFO said\n'
    logger.handlers[1].flush()
    assert stream.getvalue() == 'INFO said\nINFO said\n'


@pytest.mark.parametrize('kind', [queue.Queue, queue.SimpleQueue, multiprocessing.Queue])
def test_records_travel_to_queues(kind: Any, logger: logging.Logger) -> None:
    records = kind()
    logger.addHandler(logging.handlers.QueueHandler(records))
    with Logging() as actor:
        actor.log('said')
    assert records.get(timeout=10).getMessage() == 'said'
    if kind is multiprocessing.Queue:
        records.close()
        records.join_thread()


@pytest.mark.parametrize('timed', [False, True])
def test_only_the_owner_rotates_files(
    timed: bool, logger: logging.Logger, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / 'log'
    handler = (
        logging.handlers.TimedRotatingFileHandler(path, when='h')
        if timed
        else logging.handlers.RotatingFileHandler(path, maxBytes=60, backupCount=99)
    )
    logger.addHandler(handler)
    with Logging() as actor:
        for number in range(20):
            actor.log('record %d', number)
    files = sorted(tmp_path.iterdir())
    assert len(files) > 1 or timed
    lines = [line for file in files for line in file.read_text().splitlines()]
    assert sorted(lines) == sorted(f'record {number}' for number in range(20))


def test_each_handler_gets_a_record_once(logger: logging.Logger, tmp_path: pathlib.Path) -> None:
    handlers = Collecting(), Collecting()
    for handler in (*handlers, logging.FileHandler(tmp_path / 'log')):
        logger.addHandler(handler)
    handlers[1].setLevel(logging.WARNING)
    with Logging() as actor:
        actor.log('said')
        actor.run(logging.getLogger(f'{NAME}.child').warning, 'warned')
    assert [handler.messages for handler in handlers] == [['said', 'warned'], ['warned']]
    assert (tmp_path / 'log').read_text() == 'said\nwarned\n'


def test_an_error_of_the_owners_handler_spares_other_records(
    logger: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(Collecting):
        def emit(self, record: logging.LogRecord) -> None:
            if record.msg == 'bad':
                raise RuntimeError('on purpose')
            super().emit(record)

    handler = Failing()
    logger.addHandler(handler)
    errors = io.StringIO()
    monkeypatch.setattr(sys, 'stderr', errors)
    with Logging() as actor:
        for message in 'good', 'bad', 'better':
            actor.log(message)
    assert handler.messages == ['good', 'better']
    assert 'RuntimeError: on purpose' in errors.getvalue()


def test_order_is_kept(collecting: Collecting, capfd: pytest.CaptureFixture[str]) -> None:
    def log_all() -> None:
        for number in range(500):
            logging.getLogger(NAME).info('%d', number)

    with Logging() as actor:
        actor.run(log_all)
    assert collecting.messages == [str(number) for number in range(500)]
    assert capfd.readouterr().err == ''  # nor is any said twice


def test_records_of_a_constructor_that_fails_arrive(
    collecting: Collecting,
) -> None:
    class Failing(Actor):
        def __init__(self) -> None:
            logging.getLogger(NAME).info('constructing')
            raise ValueError('on purpose')

    with pytest.raises(ValueError, match='on purpose'):
        Failing()
    assert collecting.messages == ['constructing']


def test_records_that_a_module_logs_at_import_arrive(
    collecting: Collecting, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / 'logs_at_import.py').write_text(
        f'import logging\nimport uactor\nlogging.getLogger({NAME!r}).info("imported")\n'
        'class Plain(uactor.Actor):\n    pass\n'
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import logs_at_import  # type: ignore[import-not-found]

    with logs_at_import.Plain():
        pass
    pids = [record.process for record in collecting.records]
    assert len(pids) == 2
    assert pids[0] == os.getpid() != pids[1]


def test_records_of_exit_handlers_arrive(collecting: Collecting) -> None:
    def register() -> None:
        import atexit

        atexit.register(logging.getLogger(NAME).info, 'at exit')

    with Logging() as actor:
        actor.run(register)
    assert collecting.messages == ['at exit']


def test_records_of_an_actor_s_actor_travel_all_the_way(
    logger: logging.Logger, collecting: Collecting
) -> None:
    logger.addFilter(lambda record: 'secret' not in record.getMessage())

    def start_and_log() -> int:
        with Logging() as inner:
            inner.log('inner %s', [1, 2])
            inner.log('a secret')
            return int(inner.run(os.getpid))

    with Logging() as actor:
        pid = actor.run(start_and_log)
        actor.log('outer')
    assert collecting.messages == ['inner [1, 2]', 'outer']
    assert collecting.records[0].process == pid


# --- filters --------------------------------------------------------------------------------------


class Redacting(logging.Filter):
    """Changes what must not be shown."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg = record.msg.replace('secret', '***')
        return True


class Bound:
    """Filters, and can't be pickled."""

    def __init__(self) -> None:
        self.sock = socket.socket()

    def __call__(self, record: logging.LogRecord) -> bool:
        record.msg = f'{record.msg}!'
        return 'secret' not in record.msg


def redacting_closure() -> Callable[[logging.LogRecord], bool]:
    word = 'secret'

    def redact(record: logging.LogRecord) -> bool:
        record.msg = record.msg.replace(word, '***')
        return True

    return redact


request = contextvars.ContextVar('request', default='none')


def of_a_request() -> Any:
    variable, lock = request, threading.Lock()

    def redact(record: logging.LogRecord) -> bool:
        with lock:
            variable.get()
        record.msg = record.msg.replace('secret', '***')
        return True

    return redact


FILTERS: dict[str, Any] = {
    'class': Redacting,
    'closure': redacting_closure,
    'lock and context': of_a_request,
}


@pytest.mark.parametrize('of', ['logger', 'handler'])
@pytest.mark.parametrize('kind', FILTERS)
def test_filters_are_taken_over(
    kind: str, of: str, logger: logging.Logger, collecting: Collecting, tmp_path: pathlib.Path
) -> None:
    file = logging.FileHandler(tmp_path / 'log')
    logger.addHandler(file)
    for filtered in [logger] if of == 'logger' else [file, collecting]:
        filtered.addFilter(FILTERS[kind]())
    with Logging() as actor:
        assert actor.run(types_of_handlers) == ['OwnerHandler', 'FileHandler']
        actor.log('a secret')
    assert (tmp_path / 'log').read_text() == 'a ***\n'
    assert collecting.messages == ['a ***']


def test_filters_of_a_logger_that_can_not_be_pickled_stand_before_all_its_handlers(
    logger: logging.Logger, collecting: Collecting, tmp_path: pathlib.Path
) -> None:
    bound = Bound()
    logger.addFilter(bound)
    logger.addHandler(logging.FileHandler(tmp_path / 'log'))
    with Logging() as actor:
        actor.log('a secret')
        actor.log('said')
        actor.run(logging.getLogger(f'{NAME}.child').info, 'of a child')
    bound.sock.close()
    assert sorted(collecting.messages) == ['of a child', 'said!']
    assert sorted((tmp_path / 'log').read_text().splitlines()) == ['of a child', 'said!']


def test_each_filter_of_a_handler_is_applied_once_and_in_order(
    collecting: Collecting,
) -> None:
    def mark(record: logging.LogRecord) -> bool:
        record.msg += '?'
        return True

    def mark_again(record: logging.LogRecord) -> bool:
        return mark(record)

    bound = Bound()
    for one in mark, bound, mark_again:
        collecting.addFilter(one)
    with Logging() as actor:
        actor.log('said')
    bound.sock.close()
    assert collecting.messages == ['said?!?']


def test_a_handler_with_a_way_of_its_own_to_filter_decides(logger: logging.Logger) -> None:
    class Deciding(Collecting):
        def filter(self, record: logging.LogRecord) -> bool:
            return record.msg != 'no'

    handler = Deciding()
    logger.addHandler(handler)
    with Logging() as actor:
        actor.log('no')
        actor.log('yes')
    assert handler.messages == ['yes']


# --- what records hold ----------------------------------------------------------------------------


class Unpicklable:
    def __reduce__(self) -> Any:
        raise TypeError('on purpose')

    def __repr__(self) -> str:
        return 'an object'


class Elsewhere:
    """Can't be rebuilt where it says it is."""

    def __reduce__(self) -> Any:
        return int, ('not a number',)

    def __repr__(self) -> str:
        return 'elsewhere'


class Point:
    def __init__(self, x: int) -> None:
        self.x = x

    def __repr__(self) -> str:
        return f'Point({self.x})'


def transfer_record(*args: Any, **attributes: Any) -> logging.LogRecord:
    """Return what becomes of a record."""
    record = logging.LogRecord('name', logging.INFO, 'path', 7, args[0], args[1:], None)
    record.__dict__.update(attributes)
    sent = encode_record(record, SentRecord(0), logging.Formatter().formatException)
    return rebuild_record(pickle.loads(pickle.dumps(sent)))


def test_plain_messages_and_arguments_travel_as_they_are() -> None:
    record = transfer_record('%s and %d', 'text', 3, lineno=9)
    assert (record.msg, record.args, record.getMessage()) == (
        '%s and %d',
        ('text', 3),
        'text and 3',
    )
    assert (record.lineno, record.levelname) == (9, 'INFO')
    assert transfer_record('%(a)s', {'a': 1}).getMessage() == '1'


def test_arguments_that_can_be_pickled_travel_too() -> None:
    record = transfer_record('%s', Point(3))
    assert isinstance(record.args, tuple)
    assert isinstance(record.args[0], Point)
    assert record.getMessage() == 'Point(3)'


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (('%s', Unpicklable()), 'an object'),
        (('%s', Elsewhere()), 'elsewhere'),
        (('%s %s', 1, object), f'1 {object}'),
        ((Unpicklable(),), 'an object'),
        (('%s', threading.Lock), f'{threading.Lock}'),
    ],
)
def test_records_say_what_they_say_where_they_are_made(args: Any, message: str) -> None:
    assert transfer_record(*args).getMessage() == message


def test_attributes_that_can_not_travel_become_their_repr() -> None:
    record = transfer_record(
        'said', one=Unpicklable(), two=Elsewhere(), three=[1, Point(2)], four=b'4'
    )
    assert (record.one, record.two) == ('an object', 'elsewhere')  # type: ignore[attr-defined]
    assert record.three[1].x == 2  # type: ignore[attr-defined]
    assert record.four == b'4'  # type: ignore[attr-defined]


def test_large_arguments_go_as_text() -> None:
    assert transfer_record('%.10s', bytearray(2 << 20)).getMessage() == str(bytearray(1))[:10]


def test_tracebacks_travel_as_text() -> None:
    try:
        raise ValueError('on purpose')
    except ValueError:
        record = transfer_record('said', exc_info=sys.exc_info())
    assert record.exc_info is None
    assert record.exc_text is not None
    assert record.exc_text.endswith('ValueError: on purpose')


class Braces(logging.LogRecord):
    def getMessage(self) -> str:  # noqa: N802  # that of the base class
        return str(self.msg).format(*(self.args or ()))


def test_records_of_a_class_of_their_own_say_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    record = Braces('name', logging.INFO, 'path', 7, '{} {{', (1,), None)
    sent = encode_record(record, SentRecord(0), logging.Formatter().formatException)
    assert rebuild_record(sent).getMessage() == '1 {'  # though there is no such factory here
    monkeypatch.setattr(logging, '_logRecordFactory', Braces)
    assert rebuild_record(sent).getMessage() == '1 {'


def test_mutable_arguments_are_those_of_the_moment(collecting: Collecting) -> None:
    def log() -> None:
        numbers = [1]
        logging.getLogger(NAME).info('%s', numbers)
        numbers.append(2)

    with Logging() as actor:
        actor.run(log)
    assert collecting.messages == ['[1]']


def test_a_proxy_in_a_record_is_shown_by_its_text(collecting: Collecting) -> None:
    with Logging() as actor, Logging() as other:
        actor.log('%r', other)
    [message] = collecting.messages
    assert 'LoggingProxy' in message or 'object, typeid' in message


# --- the end, and too much ------------------------------------------------------------------------


class Waiting(Collecting):
    """Handles nothing before it may."""

    def __init__(self) -> None:
        super().__init__()
        self.may = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.may.wait()
        super().emit(record)


def test_surplus_log_records_are_dropped_counted_and_reported(
    logger: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = Waiting()
    logger.addHandler(handler)
    monkeypatch.setattr(logger, 'propagate', False)  # all handlers share the queue
    surplus = 500

    def log_much() -> float:
        logger = logging.getLogger(NAME)
        begun = time.monotonic()
        for number in range(MAX_RECORDS + surplus):
            logger.info('%d', number)
        return time.monotonic() - begun

    with Logging() as actor:
        assert actor.run(log_much) < 30  # though nobody takes any
        handler.may.set()
        eventually(lambda: any(record.levelno == logging.WARNING for record in handler.records), 30)
        actor.log('there is room again')
    notices = [record for record in handler.records if record.levelno == logging.WARNING]
    assert [notice.msg.split()[1:5] for notice in notices] == [['log', 'records', 'of', 'this']]
    lost = int(notices[0].msg.split()[0])
    assert 0 < lost <= surplus
    assert len(handler.records) == MAX_RECORDS + surplus - lost + 2
    assert handler.messages[-2:] == [notices[0].msg, 'there is room again']


def test_there_is_room_again_for_what_has_been_handled(
    logger: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = Waiting()
    logger.addHandler(handler)
    monkeypatch.setattr(logger, 'propagate', False)

    def log(numbers: range, waits: bool) -> None:
        log_channel.MAX_BYTES = 20_000
        for number in numbers:
            logging.getLogger(NAME).info('%d', number)
            if waits:
                log_channel.channel.flush()

    with Logging() as actor:
        handler.may.set()
        actor.run(log, range(60), True)
        handler.may.clear()
        actor.run(log, range(60, 65), False)
        handler.may.set()
    assert handler.messages == [str(number) for number in range(65)]


class Large:
    """Takes some time to be sent."""

    def __init__(self) -> None:
        self.data = bytes(2 << 20)


def test_a_large_attribute_of_a_log_record_travels_as_text(collecting: Collecting) -> None:
    with Logging() as actor:
        actor.log('small', extra={'given': {1}})
        actor.run(lambda: logging.getLogger(NAME).info('large', extra={'given': Large()}))
    small, large = [vars(record)['given'] for record in collecting.records]
    assert small == {1}
    assert isinstance(large, str)
    assert large.startswith('<tests.launch.test_logging.Large object')


def test_a_record_larger_than_the_queue_is_sent_when_nothing_else_waits(
    collecting: Collecting,
) -> None:
    def log_one() -> None:
        log_channel.MAX_BYTES = 1
        logging.getLogger(NAME).info('large')

    with Logging() as actor:
        actor.run(log_one)
    assert collecting.messages == ['large']


def test_records_sent_before_an_actor_is_killed_arrive(collecting: Collecting) -> None:
    actor = Logging()
    actor.log('said')
    eventually(lambda: collecting.messages == ['said'])
    os.kill(actor.run(os.getpid), signal.SIGKILL)
    assert collecting.messages == ['said']


ORPHAN = """
import atexit, logging, os, signal, sys
import uactor

class Unpicklable:
    def __init__(self):
        self.file = sys.stdin

    def __call__(self, record):
        return True

class Handler(logging.Handler):
    def emit(self, record):
        pass

class Brief(logging.Formatter):
    def format(self, record):
        return 'brief ' + record.getMessage()

class Actor(uactor.Actor):
    def kill_owner(self):
        atexit.register(self.log)  # it ends with its owner
        os.kill(self.owner, signal.SIGKILL)

    def log(self):
        logging.getLogger('shown').warning('shown %d', 1)
        logging.getLogger('hidden').warning('a secret')

for name in 'shown', 'hidden':
    handler = Handler()
    handler.setFormatter(Brief())
    logging.getLogger(name).addHandler(handler)
handler.addFilter(Unpicklable())
Actor.owner = os.getpid()
Actor().kill_owner()
"""


def test_records_go_to_standard_error_once_the_owner_has_ended() -> None:
    program = run_python('-c', ORPHAN)
    assert program.returncode == -signal.SIGKILL
    lines = program.stderr.splitlines()
    assert lines[0] == 'brief shown 1'
    assert 'is not shown' in lines[1]
    assert 'secret' not in program.stderr


def test_a_forked_child_of_an_actor_writes_to_standard_error(
    logger: logging.Logger, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = Collecting()
    handler.setFormatter(logging.Formatter('{message}!', style='{'))
    logger.addHandler(handler)
    monkeypatch.setattr(logger, 'propagate', False)

    def fork() -> None:
        logging.getLogger(NAME).info('parent')
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', DeprecationWarning)
            pid = os.fork()
        if not pid:
            logging.getLogger(NAME).info('child')
            os._exit(0)
        os.waitpid(pid, 0)

    with Logging() as actor:
        actor.run(fork)
    assert handler.messages == ['parent']
    assert capfd.readouterr().err == 'child!\n'


def test_an_actor_that_does_not_log_starts_no_thread_for_it(collecting: Collecting) -> None:
    with Logging() as actor:
        assert 'uactor-log' not in actor.run(threads)
        actor.log('said')
        assert 'uactor-log' in actor.run(threads)


# --- the rest of the set-up -----------------------------------------------------------------------


def test_usual_logging_costs_nothing() -> None:
    program = """
        from uactor.launch.log_setup import capture_logging
        from uactor.launch.log_targets import LogTargets
        print(capture_logging(LogTargets()))
    """
    assert get_output(run_python('-c', textwrap.dedent(program))) == 'None\n'


def test_a_set_up_travels_by_a_plain_pickle(logger: logging.Logger) -> None:
    import enum

    class Level(enum.IntEnum):
        LOUD = 35

    logger.setLevel(Level.LOUD)
    setup = capture_logging(LogTargets())
    assert pickle.loads(pickle.dumps(setup)) == setup
    assert setup is not None
    [found] = [one for one in setup.loggers if one.name == NAME]
    assert type(found.level) is int


REST = """
import logging, multiprocessing, multiprocessing.util, sys, warnings
import uactor

class Logger(logging.Logger):
    def trace(self, text):
        self.log(5, text)

class Record(logging.LogRecord):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.extra = 'extra'

logging.setLoggerClass(Logger)
logging.addLevelName(5, 'TRACE')
logging.addLevelName(logging.WARNING, 'Warning')
{factory}
logging.captureWarnings(True)
logging.raiseExceptions = False
logging.logThreads = False
logging.getLogger('off').disabled = True
logging.lastResort = {last_resort}
multiprocessing.get_logger().setLevel('INFO')
logging.basicConfig(
    level=5, style='{{', format='{{levelname}} {{name}} {{message}} {{extra}} {{thread}}',
    stream=sys.stdout,
)
logging.getLogger('quiet').propagate = False

class Actor(uactor.Actor):
    def log(self):
        logging.getLogger('some').trace('traced')
        logging.getLogger('off').error('not told')
        logging.getLogger('quiet').error('nor this')
        logging.getLogger('some').warning('too many', 1)
        logging.getLogger('some').error('told')
        warnings.warn('of old', UserWarning)
        multiprocessing.util.info('not told')
        return logging.getLogger('multiprocessing').level, multiprocessing.util._logger is not None

with Actor() as actor:
    result = actor.log()
print(result)
"""


@pytest.mark.parametrize('portable', [True, False])
def test_levels_classes_factories_and_switches_are_taken_over(portable: bool) -> None:
    last = '= logging.NullHandler()' if portable else '= None'
    factory = 'logging.setLogRecordFactory(Record)'
    if not portable:  # a stream can't be pickled
        factory = (
            'out = open("/dev/null", "w")\n'
            'logging.setLogRecordFactory(lambda *a, **k: out.flush() or Record(*a, **k))'
        )
    source = REST.format(factory=factory, last_resort=last.removeprefix('= '))
    source = source.replace("warnings.warn('of old', UserWarning)", WARN)
    printed = run_python('-c', source)
    assert printed.returncode == 0, printed.stderr
    lines = printed.stdout.splitlines()
    assert [line for line in lines if line.startswith(('TRACE', 'ERROR'))] == [
        'TRACE some traced extra None',
        'ERROR some told extra None',
    ]
    assert any(line.startswith('Warning py.warnings') and 'of old' in line for line in lines)
    assert 'not told' not in printed.stdout
    assert 'nor this' not in printed.stdout + printed.stderr
    assert lines[-1] == '(20, True)'


WARN = """with warnings.catch_warnings():
            warnings.simplefilter('always')
            logging.captureWarnings(False)
            logging.captureWarnings(True)
            warnings.warn('of old', UserWarning)"""


def test_a_set_up_that_can_not_be_had_in_the_actor_keeps_none_from_starting(
    logger: logging.Logger, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = types.ModuleType('only_here')
    source = """
        import logging
        class Formatter(logging.Formatter):
            pass
        class Filter(logging.Filter):
            def filter(self, record):
                return record.msg != 'no'
        class Logger(logging.Logger):
            pass
        class Handler(logging.FileHandler):
            pass
    """
    exec(textwrap.dedent(source), vars(module))
    monkeypatch.setitem(sys.modules, 'only_here', module)
    handler = logging.FileHandler(tmp_path / 'one')
    handler.setFormatter(module.Formatter('formatted %(message)s'))
    logger.addHandler(handler)
    logger.addHandler(module.Handler(tmp_path / 'two'))
    logger.addFilter(module.Filter())
    with Logging() as actor:
        actor.log('no')
        actor.log('said')
    assert (tmp_path / 'one').read_text() == 'formatted said\n'
    assert (tmp_path / 'two').read_text() == 'said\n'


@pytest.mark.parametrize(
    'entry',
    [
        ('ignore', None, UserWarning, types.SimpleNamespace(match=lambda text: False), 0),
        ('ignore', types.SimpleNamespace(match=socket.socket), UserWarning, None, 0),
        ('ignore', None, type('Local', (UserWarning,), {'__module__': 'nowhere'}), None, 0),
        ('ignore', None, types.SimpleNamespace(), None, 0),
        ('no', 'filter', UserWarning),
        None,
    ],
)
def test_odd_filters_of_warnings_keep_no_actor_from_starting(entry: Any) -> None:
    with warnings.catch_warnings():
        warnings.filters.append(entry)  # type: ignore[attr-defined]  # it is a list
        with Logging() as actor:
            assert actor.run(abs, -1) == 1


def test_filters_for_warnings_of_the_main_module_are_taken_over() -> None:
    program = """
        import warnings
        import uactor

        class Own(UserWarning):
            pass

        warnings.simplefilter('error', Own)

        class Actor(uactor.Actor):
            def warn(self):
                try:
                    warnings.warn('own', Own)
                except Own:
                    return 'raised'

        with Actor() as actor:
            print(actor.warn())
    """
    assert get_output(run_python('-c', textwrap.dedent(program))) == 'raised\n'


# --- modules that set logging up themselves -------------------------------------------------------

SETS_UP = """
import logging, logging.config, sys, uactor

class Formatter(logging.Formatter):
    pass

class Handler(logging.StreamHandler):
    pass

log = logging.getLogger('app')
log.setLevel('INFO')
{setup}

class Speaker(uactor.Actor):
    def say(self):
        log.info('once')
"""

SETUPS = {
    'a formatter of its own': """
handler = logging.StreamHandler(sys.stdout)
handler.setFormatter(Formatter('%(message)s'))
log.addHandler(handler)
""",
    'a handler of its own': 'log.addHandler(Handler(sys.stdout))',
    'a plain handler': 'log.addHandler(logging.StreamHandler(sys.stdout))',
    'if there is none': """
if not log.handlers:
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(Formatter('%(message)s'))
    log.addHandler(handler)
""",
    'basicConfig': """
handler = logging.StreamHandler(sys.stdout)
handler.setFormatter(Formatter('%(message)s'))
logging.basicConfig(handlers=[handler])
""",
    'dictConfig': """
logging.config.dictConfig({
    'version': 1,
    'formatters': {'own': {'()': 'app.Formatter', 'format': '%(message)s'}},
    'handlers': {'out': {
        'class': 'logging.StreamHandler', 'stream': 'ext://sys.stdout', 'formatter': 'own'
    }},
    'loggers': {'app': {'level': 'INFO', 'handlers': ['out']}},
})
""",
}


@pytest.mark.usefixtures('usual_launcher')
@pytest.mark.parametrize('setup', SETUPS)
def test_a_module_that_sets_logging_up_does_so_once(setup: str, tmp_path: pathlib.Path) -> None:
    """It is imported in the actor, too, for a class of the set-up or of the actor."""
    (tmp_path / 'app.py').write_text(SETS_UP.format(setup=SETUPS[setup]))
    (tmp_path / 'main.py').write_text('import app\nwith app.Speaker() as one: one.say()\n')
    assert get_output(run_python(str(tmp_path / 'main.py'))) == 'once\n'
