import uactor


class Inventory(uactor.Actor):
    """What is in stock."""

    _method_to_typeid_ = {'items': 'dict'}  # the dict stays here, and callers get a proxy

    def __init__(self, **items: int) -> None:
        self._items = items

    def take(self, name: str, count: int = 1) -> int:
        """Take some out and return how many are left."""
        self._items[name] -= count
        return self._items[name]

    def items(self) -> dict[str, int]:
        """Return all that is there."""
        return self._items
