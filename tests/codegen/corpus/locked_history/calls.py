entry = m.Entry('t', 2, m.State.DONE, 'blue')
CALLS = [
    ('count', (), {}, 0),
    ('write', (entry,), {'times': 2}, [entry, entry]),
    ('write', (m.Entry('t'),), {}, [m.Entry('t', 0, m.State.NEW, '')]),
]
