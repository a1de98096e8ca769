import asyncio
import itertools
from collections.abc import Iterator

import uactor


class Numbers(uactor.Actor):
    @uactor.method
    def square(self, number: int) -> int:
        return number * number

    @uactor.method
    def primes(self) -> Iterator[int]:
        """Yield all primes."""
        for number in itertools.count(2):
            if all(number % divisor for divisor in range(2, number)):
                yield number

    @uactor.method
    async def nap(self, seconds: float) -> str:
        await asyncio.sleep(seconds)
        return f'slept {seconds} s'

    @uactor.method
    def search(self) -> int:
        """Search until it is found, or nobody waits for it any more."""
        number, call = 0, uactor.current_call()
        while not call.cancelled:
            number += 1
        return number


with Numbers() as numbers:
    future = numbers.square.future(12)  # is being computed, or will be
    print(future.result())

    print(list(numbers.square.map(range(5))))  # many calls at a time, results in order

    for prime in numbers.primes.stream():  # as they come into being
        if prime > 10:
            break  # ends the generator
        print(prime, end=' ')
    print()

    try:
        numbers.search.options(timeout=0.2)()
    except uactor.DeadlineError as error:
        print('DeadlineError:', error)


async def main() -> None:
    async with Numbers() as numbers:
        naps = await asyncio.gather(numbers.nap.aio(0.2), numbers.nap.aio(0.1))
        print(naps)
        async for prime in numbers.primes.stream():
            if prime > 5:
                break


asyncio.run(main())
