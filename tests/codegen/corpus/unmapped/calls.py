CALLS = [('fine', (), {}, 'fine')]
