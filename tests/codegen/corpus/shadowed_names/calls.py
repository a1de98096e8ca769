import datetime

tree = m.Tree(1, (m.Tree(2),), {'x': m.Tree(3, u='u')}, 5, 'b "q"')
inner = m.Inner(1, 'y', datetime.datetime(2000, 1, 1, tzinfo=datetime.timezone.utc), [])
box = m.IntBoxBox(m.IntBox(1, [2], datetime.timedelta(3)), [], datetime.timedelta(0))
CALLS = [
    ('_call_', (tree,), {}, tree),
    ('list', ([[1], []],), {}, [[1], []]),
    ('str', ('s',), {}, 's'),
    ('int', (1, 2, 3), {}, 1),
    ('float', (), {}, 1.0),
    ('dict', ({'a': None},), {}, {'a': None}),
    ('datetime', (), {}, None),
    ('typing', ([1],), {}, [1]),
    ('collections', ([2, 3],), {}, {1: [2, 3]}),
    ('self_', (None,), {}, None),
    ('self_', ('y',), {}, 'y'),
    ('tree', (tree,), {}, tree),
    ('td', ({},), {}, {}),
    ('td', ({'x': 1, 'nested': [tree]},), {}, {'x': 1, 'nested': [tree]}),
    ('box', (box,), {}, m.TreeBox(m.Tree(1), [], datetime.timedelta(1))),
    ('user', (3,), {}, 3),
    ('weird', (m.Weird.Y,), {}, m.Weird.Y),
    ('inner', (inner,), {}, inner),
    ('inner', (m.Inner(0, list=None),), {}, m.Inner(0)),
    ('nt', (m.Any(1, m.Mode.C, (2,)),), {}, m.Any(1, m.Mode.A, (2,))),
    ('h', (m.Handle(4),), {}, m.Handle(4)),
    ('items', ([tree, tree],), {'n': 1}, [tree, tree]),
    ('get_schema', (), {}, 's'),
    ('kwargs', (1, 'a'), {'x': tree}, None),
    ('print', (), {'end': ''}, None),
    ('every', ((), None), {}, ()),
    ('every', ((), (1, 'a'), {frozenset({1})}), {}, ()),
    ('cancel', (), {}, None),
    ('close_channel_', (), {}, None),
    ('unions', (m.Any(1), ['a']), {}, ['x']),
    ('unions', (None,), {'b': {'k': None}}, ['x']),
    ('empty', (m.Empty(),), {}, m.Empty()),
]
