one, two = m.Derived(1), m.Derived(2, 'two')
CALLS = [
    ('first', ([two, one],), {}, two),
    ('page', ([one, two],), {}, m.DerivedPage([m.Derived(1, 'nobody')], 1)),
    ('page', ([one, two], 2), {}, m.DerivedPage([one, two], None)),
    ('numbers', (m.IntPage([1, 2]),), {}, 3),
]
