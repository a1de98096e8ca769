import uactor


class Vault(uactor.Actor):
    _options_ = {'authkey': b'a secret of its own'}

    def open(self) -> str:
        return 'gold'


class Clerk(uactor.Actor):
    """Has started a vault, and so knows its key."""

    def __init__(self) -> None:
        self._vault = Vault()

    def vault(self) -> Vault:
        return self._vault

    def where(self) -> str:
        return str(self._vault.connection_address)


with Clerk() as clerk:
    try:
        clerk.vault()
    except uactor.AuthkeyError:
        print('this process does not know the key yet')
    try:
        Vault.connect(clerk.where(), b'a wrong guess')
    except uactor.AuthkeyError:
        print('nor is it that one')
    Vault.connect(clerk.where(), b'a secret of its own')
    print(clerk.vault().open())
