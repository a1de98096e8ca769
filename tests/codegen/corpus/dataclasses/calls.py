import collections

inner = m.Shape(name='inner', ident='x', size=0)
shape = m.Shape(name='a', points=[m.Point(1, 2.5)], parent=inner, ident='y', size=1)
full = m.Parts(
    {'b', 'a'},
    frozenset({1}),
    collections.deque([1, 2]),
    collections.Counter('aab'),
    collections.OrderedDict(b=1, a=2),
    {m.Point(1.0): 3},
)
CALLS = [
    ('parts', (m.Parts(),), {}, m.Parts(counts=collections.Counter())),
    (
        'parts',
        (m.Parts(),),
        {},
        m.Parts(
            set(),
            frozenset(),
            collections.deque(),
            collections.Counter(),
            collections.OrderedDict(),
            {},
        ),
    ),
    ('parts', (full,), {}, full),
    ('row', (m.Row(),), {}, m.Row([], {})),
    ('row', (m.Row([1]),), {}, m.Row([1])),
    ('scale', (m.Point(1.5, 2.0),), {}, m.Point(3.0, 4.0)),
    ('scale', (m.Point(1.5),), {'by': 3}, m.Point(4.5, 0.0)),
    ('pair', (m.Pair(1),), {}, m.Pair(2, 'r')),
    ('options', ({'title': 'a'},), {}, {'title': 'A'}),
    ('options', ({'title': 'a', 'count': 0},), {}, {'title': 'A', 'count': 0}),
    ('echo', (shape,), {}, shape),
    ('echo', (m.Shape(name='b'),), {}, m.Shape(name='b', ident='made', size=0)),
    ('points', ({m.Point(1.0), m.Point(2.0)},), {}, frozenset({m.Point(1.0), m.Point(2.0)})),
]
