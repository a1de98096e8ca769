import queue
import threading

import uactor


class Kitchen(uactor.Actor):
    # Calls through a proxy give proxies of these; calls inside the actor, the objects.
    _method_to_typeid_ = {'menu': 'dict', 'orders': 'Queue', 'open': 'Event'}

    def __init__(self) -> None:
        self._menu = {'soup': 4, 'bread': 1}
        self._orders: queue.Queue[str] = queue.Queue()
        self._open = threading.Event()

    def menu(self) -> dict[str, int]:
        return self._menu

    def orders(self) -> 'queue.Queue[str]':
        return self._orders

    @property
    def open(self) -> threading.Event:
        return self._open

    def prices(self, share: bool) -> list[int]:
        prices = sorted(self.menu().values())
        # Decided call by call: a proxy, or a copy.
        return uactor.proxy(prices, 'list') if share else prices


with Kitchen() as kitchen:
    menu = kitchen.menu()
    menu['cake'] = 3
    menu |= {'tea': 2}
    print(menu, 'cake' in menu, {'coffee': 2} | menu)

    kitchen.open.set()  # a property may return a proxy too
    kitchen.orders().put('soup')
    print(kitchen.open.is_set(), kitchen.orders().get(timeout=1))

    for share in (False, True):
        prices = kitchen.prices(share)
        print(type(prices).__name__, prices)
    print(uactor.typeid(prices), prices == [1, 2, 3, 4], prices[1:], max(prices))
