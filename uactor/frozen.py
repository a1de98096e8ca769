"""Programs that are frozen into one executable."""

from __future__ import annotations

from uactor.launch import interpreter


def freeze_support() -> None:
    """Become an actor process if this frozen program was run for that.

    PyInstaller, Nuitka and cx_Freeze make one executable of a program and its interpreter. To
    start an actor, uactor runs the executable once more. Call this function first in the main
    module. It returns at once in the program itself, and never in an actor process. Like
    :func:`multiprocessing.freeze_support`, it does nothing in a program that is not frozen.
    """
    begun = interpreter.begin_frozen()
    if begun is None:
        return
    from uactor import bootstrap

    kind, sock = begun
    run = {
        interpreter.ACTOR: bootstrap.run_actor_process,
        interpreter.TEMPLATE: bootstrap.run_template,
    }
    run[kind](sock)
