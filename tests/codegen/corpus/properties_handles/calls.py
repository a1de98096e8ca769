CALLS = [
    ('get_limit', (), {}, 5),
    ('set_limit', (5,), {}, None),
    ('get_size', (), {}, 3),
    ('set_size', (3,), {}, None),
    ('get_VERSION', (), {}, 'one'),
    ('close', (), {}, 'closed'),
]
