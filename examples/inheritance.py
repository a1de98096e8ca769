"""Actor classes inherit like any class, and what they expose adds up."""

import uactor


class Instrument(uactor.Actor):
    _exposed_ = ('play',)

    def __init__(self, name: str) -> None:
        self.name = name

    def play(self) -> str:
        return f'{self.name}: {self.sound()}'

    def sound(self) -> str:
        return '…'


class Drum(Instrument):
    _exposed_ = ('roll',)  # beside what Instrument exposes

    def sound(self) -> str:
        return 'boom'

    def roll(self) -> str:
        return ' '.join([super().play()] + [self.sound()] * 2)


with Instrument('Cage') as instrument, Drum('Snare') as drum:
    print(instrument.play())  # prints Cage: …
    print(drum.play())  # prints Snare: boom
    print(drum.roll())  # prints Snare: boom boom boom
    try:
        drum.sound()
    except AttributeError as error:
        print(error)  # prints 'Drum.proxy_class' object has no attribute 'sound'
