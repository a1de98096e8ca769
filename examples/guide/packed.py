import uactor


class Greeter(uactor.Actor):
    def greet(self, name: str) -> str:
        return f'Hello, {name}'


if __name__ == '__main__':
    uactor.freeze_support()  # becomes an actor process, if the program was run for that
    with Greeter() as greeter:
        print(greeter.greet('world'))
