"""State that an actor process inherits from its owner.

A forked process would have it, too.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import re
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from uactor import errors
from uactor.codec import pickling
from uactor.launch.import_path import find_current_directory
from uactor.launch.log_setup import LogSetup, apply_logging, capture_logging
from uactor.launch.log_targets import LogTargets
from uactor.runtime.system_errors import is_interruption

log = logging.getLogger('uactor.launch')

_PLAIN_PATTERNS = {type(None), str, re.Pattern}
"""Types that messages and modules of filters have, unless a program sets others."""


@dataclass(frozen=True)
class InheritedState:
    """Arguments, directory, warnings, logging and family key of the owner."""

    argv: list[str]
    directory: str
    authkey: bytes = field(repr=False)
    filters: list[Any] = field(default_factory=list)
    log_setup: LogSetup | None = None


def capture_state(log_targets: LogTargets) -> InheritedState:
    """Return the state that an actor process inherits from this process.

    :param log_targets: gets the handlers and loggers whose log records are sent to this process.
    """
    return InheritedState(
        argv=list(sys.argv),
        directory=find_current_directory(),
        authkey=bytes(multiprocessing.current_process().authkey),
        filters=_capture_filters(),
        log_setup=capture_logging(log_targets),
    )


def apply_state(state: InheritedState) -> Callable[[], None]:
    """Apply the state of the owner to this process.

    :returns: a function that applies again what depends on modules, for when the modules of the
        actor are imported.
    """
    sys.argv[:] = state.argv
    if state.directory and state.directory != find_current_directory():
        os.chdir(state.directory)
    multiprocessing.current_process().authkey = state.authkey
    if _capture_filters() != state.filters:
        _set_filters([], state)
    log_setup = state.log_setup
    set_up_logging = apply_logging(log_setup) if log_setup is not None else lambda: None

    def apply_again() -> None:
        _restore_filters(state)
        set_up_logging()

    return apply_again


def _restore_filters(state: InheritedState) -> None:
    before = _capture_filters()
    if before == state.filters:
        return
    own = [_decode_filter(entry) for entry in before if entry not in state.filters]
    _set_filters([entry for entry in own if entry is not None], state)


def _set_filters(own: list[Any], state: InheritedState) -> None:
    """Set the owner's filters of warnings whose categories are imported here."""
    taken = [entry for entry in map(_decode_filter, state.filters) if entry is not None]
    warnings.resetwarnings()  # also makes modules forget their warnings so far
    warnings.filters.extend([*own, *taken])  # type: ignore[attr-defined]  # it is a list


def _capture_filters() -> list[Any]:
    """Return the filters of warnings of this process that can be pickled."""
    named = map(_encode_filter, warnings.filters)
    return [entry for entry in named if entry is not None]


def _encode_filter(entry: Any) -> tuple[Any, ...] | bytes | None:
    """Return a filter of warnings with its category's name, or its pickle.

    Numpy adds filters when it is imported. Pickles of their categories would make every actor
    import it, too, which takes longer than the rest of a start. Only a filter whose category has no
    name is pickled.
    """
    try:
        action, message, category, module, line = entry
        if {type(message), type(module)} <= _PLAIN_PATTERNS and _has_public_name(category):
            name = category.__module__, category.__qualname__
            return str(action), message, name, module, int(line)
        return pickling.dumps(tuple(entry))
    except Exception as error:  # programs can set filters of any kind
        if is_interruption(error):
            raise
        log.debug('actors do without a filter of warnings: %s', errors.get_text(error))
        return None


def _has_public_name(category: type) -> bool:
    return category.__module__ != '__main__' and '<locals>' not in category.__qualname__


def _decode_filter(entry: Any) -> tuple[Any, ...] | None:
    """Return a filter with its category, or None if that isn't imported."""
    if isinstance(entry, bytes):
        return _load_filter(entry)
    action, message, (module, name), *rest = entry
    found = pickling.find_attribute(sys.modules.get(module), name)
    return (action, message, found, *rest) if isinstance(found, type) else None


def _load_filter(data: bytes) -> tuple[Any, ...] | None:
    try:
        entry: tuple[Any, ...] = pickling.loads(data)
    except errors.SerializationError as error:
        log.debug('a filter of warnings is not to be had here: %s', error)
        return None
    return entry
