import time
from collections.abc import Callable

import uactor


class Scorer(uactor.Actor):
    @uactor.method
    def score(self, word: str) -> int:
        return sum(map(ord, word))

    @uactor.method
    def score_all(self, words: list[str]) -> list[int]:
        return [self.score(word) for word in words]


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == '__main__':
    words = ['ann', 'bob', 'cleo'] * 5000
    with Scorer() as scorer:
        scorer.score('warm')  # the first call opens the connection
        one_by_one = seconds(lambda: [scorer.score(word) for word in words])
        mapped = seconds(lambda: list(scorer.score.map(words)))
        at_once = seconds(lambda: scorer.score_all(words))
        print('map takes less than a call for each:', mapped < one_by_one)
        print('one call for all takes less again:', at_once < mapped)
