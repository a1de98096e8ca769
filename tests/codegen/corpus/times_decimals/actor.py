"""Times, and what has a canonical form in a string."""

from __future__ import annotations

import datetime
import decimal
import fractions
import ipaddress
import pathlib
import uuid

import uactor


class Clock(uactor.Actor):
    _package_ = 'corpus.times_decimals'
    _exposed_ = ('later', 'day', 'exact', 'third', 'name', 'path', 'host')

    def later(self, now: datetime.datetime, by: datetime.timedelta) -> datetime.datetime:
        return now + by

    def day(self, day: datetime.date, time: datetime.time) -> tuple[datetime.date, datetime.time]:
        return day, time

    def exact(self, price: decimal.Decimal) -> decimal.Decimal:
        return price * 3

    def third(self, of: fractions.Fraction) -> fractions.Fraction:
        return of / 3

    def name(self, ident: uuid.UUID) -> uuid.UUID:
        return ident

    def path(self, path: pathlib.PurePosixPath) -> pathlib.PurePosixPath:
        return path / 'x'

    def host(self, address: ipaddress.IPv4Address) -> ipaddress.IPv4Address:
        return address + 1
