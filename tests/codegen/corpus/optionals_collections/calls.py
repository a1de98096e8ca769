import collections

ordered = collections.OrderedDict([('b', 1), ('a', 2)])
CALLS = [
    ('maybe', (), {}, None),
    ('maybe', (0,), {}, '0'),
    ('lists', (None,), {}, None),
    ('lists', ([],), {}, []),
    ('lists', ([1],), {}, [1]),
    ('nested', ([[], [1, 2]],), {}, [[], [1, 2]]),
    ('gaps', ([None, 0],), {}, [None, 0]),
    ('tables', ({'a': [], 'b': [1.5]},), {}, {'a': [], 'b': [1.5]}),
    ('keyed', ({(1, 2): 'x'},), {}, {(1, 2): 'x'}),
    ('pairs', ((1, None),), {}, (1, None)),
    ('sets', ({3, 1},), {}, frozenset({1, 3})),
    ('default', (), {}, (1, 2)),
    ('default', ((),), {}, ()),
    ('abstract', ((1, 2, 1), {1: 'a', 2: 'b'}), {}, ['a', 'b', 'a']),
    ('counted', (collections.deque('aab'),), {}, collections.Counter('aab')),
    ('anything', (None,), {}, None),
    ('anything', ({'a': [1, 2.5, True, None, 'x']},), {}, {'a': [1, 2.5, True, None, 'x']}),
    ('loose', ({'a': 1}, [2]), {}, {'a': 1, 'items': [2]}),
    ('same', (ordered,), {}, ordered),
]
