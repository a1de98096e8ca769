from shelf import Reader, shelf

shelf.add('Moby-Dick')
with Reader() as reader:
    print(reader.see())
