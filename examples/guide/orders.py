import dataclasses
import enum
from collections.abc import Iterator

import uactor


class Size(enum.Enum):
    SMALL = 's'
    LARGE = 'l'


@dataclasses.dataclass
class Order:
    """What somebody wants.

    :ivar note: for the kitchen.
    """

    dish: str
    size: Size = Size.SMALL
    note: str | None = None


class Closed(Exception):
    pass


class Kitchen(uactor.Actor):
    """Takes orders."""

    _package_ = 'bistro'
    _errors_ = {Closed: 'FAILED_PRECONDITION'}

    def __init__(self) -> None:
        self._orders: list[Order] = []
        self._open = True

    def take(self, order: Order, *, times: int = 1) -> int:
        """Take an order and return how many there are.

        :param times: how many of it.
        """
        if not self._open:
            raise Closed('come back tomorrow')
        self._orders += [order] * times
        return len(self._orders)

    def orders(self, size: Size | None = None) -> Iterator[Order]:
        """Yield the orders, all or those of one size."""
        yield from (order for order in self._orders if size in (None, order.size))

    def close(self) -> None:
        """Take no more orders."""
        self._open = False

    def apply(self, recipe: 'complex') -> None:
        """Has a type that Protobuf has no form for."""
