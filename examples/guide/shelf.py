import uactor


class Shelf(uactor.Actor):
    def __init__(self) -> None:
        self._books: list[str] = []

    def add(self, book: str) -> None:
        self._books.append(book)

    def count(self) -> int:
        return len(self._books)


class Reader(uactor.Actor):
    def see(self) -> int:
        return shelf.count()  # asks the owner's actor


shelf = Shelf()  # starts in the owner alone, not in processes that import this module
