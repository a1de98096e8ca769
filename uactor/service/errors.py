"""The errors of annotations, of Python values and of their messages."""

from __future__ import annotations

from uactor.errors import UActorException


class UnsupportedTypeError(UActorException, TypeError):
    """An annotation or member of a class has no lossless Protobuf form."""


class ConversionError(UActorException, ValueError):
    """A value does not fit its annotation.

    Reading a message that stands for no value raises this error, too.

    :ivar path: where the value is, from the field of the request or response on: ``items[2].x``.
    :ivar reason: what is wrong with the value.
    """

    def __init__(self, reason: str, path: str = '') -> None:
        super().__init__(reason, path)
        self.reason = reason
        self.path = path

    def __str__(self) -> str:
        """Return path and reason."""
        return f'{self.path}: {self.reason}' if self.path else self.reason

    def under(self, step: str) -> ConversionError:
        """Put ``step`` in front of the path, and return self."""
        joint = '.' if self.path and not self.path.startswith('[') else ''
        self.path = f'{step}{joint}{self.path}'
        return self


class ResultConversionError(UActorException, TypeError):
    """The result of a method does not fit its annotation.

    The method has run.

    :ivar path: where the value is, from ``result`` on.
    :ivar reason: what is wrong with the value.
    """

    def __init__(self, reason: str, path: str) -> None:
        super().__init__(reason, path)
        self.reason = reason
        self.path = path

    def __str__(self) -> str:
        """Return path and reason."""
        return f'{self.path}: {self.reason}'


class LockError(UActorException, ValueError):
    """A lock file can't be read, or contradicts the class."""
