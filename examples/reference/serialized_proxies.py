import uactor


class Actor(uactor.Actor):
    def __init__(self):
        self.data = [1, 2, 3]

    def get_data(self, as_proxy=False):
        return uactor.proxy(self.data, 'list') if as_proxy else self.data


with Actor() as actor:
    value = actor.get_data()
    print(type(value), value)
    # [1, 2, 3]

    proxy = actor.get_data(as_proxy=True)
    print(type(proxy), list(proxy))
    # [1, 2, 3]
