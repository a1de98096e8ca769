import multiprocessing

import uactor


class Tally(uactor.Actor):
    _method_to_typeid_ = {'counts': 'list'}

    def __init__(self) -> None:
        self._counts: list[int] = []

    def counts(self) -> list[int]:
        return self._counts


def work(counts: list[int], number: int) -> None:
    counts.append(number * number)


if __name__ == '__main__':  # for multiprocessing; actors need no guard
    with Tally() as tally:
        counts = tally.counts()
        spawn = multiprocessing.get_context('spawn')
        workers = [spawn.Process(target=work, args=(counts, number)) for number in range(3)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        print(sorted(counts))
