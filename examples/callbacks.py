"""Methods of proxies are callbacks: an actor calls another one directly."""

from collections.abc import Callable

import uactor


class Asker(uactor.Actor):
    def ask(self, question: str, target: Callable[[str], str]) -> str:
        return f'I was told: {target(question)}'

    def tell(self, news: list[str], target: Callable[[str], None]) -> None:
        for line in news:
            target(line)


class Oracle(uactor.Actor):
    _method_to_typeid_ = {'heard': 'list'}

    def __init__(self) -> None:
        self._heard: list[str] = []

    def answer(self, question: str) -> str:
        return 'yes' if question.endswith('?') else 'what?'

    def heard(self) -> list[str]:
        return self._heard


with Asker() as asker, Oracle() as oracle:
    print(asker.ask('Will it rain?', oracle.answer))  # prints I was told: yes

    # Those of result proxies too: the asker appends to a list of the oracle.
    asker.tell(['It rains.', 'It pours.'], oracle.heard().append)
    print(oracle.heard())  # prints ['It rains.', 'It pours.']
