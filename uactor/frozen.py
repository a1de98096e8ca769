"""Programs that are frozen into one executable."""

from __future__ import annotations

from uactor.launch import interpreter


def freeze_support() -> None:
    """Become an actor process, if this frozen program was run for that.

    PyInstaller, Nuitka and cx_Freeze make one executable of a program and its interpreter. To
    start an actor, that is run once more. Call this first in the main module, before anything
    else is done; it returns at once in the program itself, and never in an actor process. As
    :func:`multiprocessing.freeze_support`, it does nothing where the program is not frozen.
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
