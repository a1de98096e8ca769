import datetime
import decimal
import fractions
import ipaddress
import pathlib
import uuid

now = datetime.datetime(2024, 2, 29, 12, 30, 1, 5, datetime.timezone.utc)
day, time = datetime.date(2024, 2, 29), datetime.time(1, 2, 3, 4)
ident = uuid.UUID(int=5)
CALLS = [
    ('later', (now, datetime.timedelta(days=1)), {}, now + datetime.timedelta(days=1)),
    ('day', (day, time), {}, (day, time)),
    ('exact', (decimal.Decimal('1.10'),), {}, decimal.Decimal('3.30')),
    ('third', (fractions.Fraction(1, 2),), {}, fractions.Fraction(1, 6)),
    ('name', (ident,), {}, ident),
    ('path', (pathlib.PurePosixPath('/a'),), {}, pathlib.PurePosixPath('/a/x')),
    ('host', (ipaddress.IPv4Address('10.0.0.1'),), {}, ipaddress.IPv4Address('10.0.0.2')),
]
