import uactor


class Account:
    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.balance = 0

    def pay_in(self, amount: int) -> int:
        self.balance += amount
        return self.balance

    def close(self) -> None:
        raise PermissionError('not from outside')


class AccountProxy(uactor.BaseProxy):
    _exposed_ = ('pay_in', 'owner')

    pay_in = uactor.ProxyMethod('pay_in')

    def pay_in_twice(self, amount: int) -> int:
        self._callmethod('pay_in', (amount,))
        return int(self._callmethod('pay_in', (amount,)))


class Bank(uactor.Actor):
    _proxies_ = {'Account': AccountProxy}
    _method_to_typeid_ = {'any_account': 'auto'}  # a proxy with all public methods

    def __init__(self) -> None:
        self._accounts: dict[str, Account] = {}

    def account(self, owner: str) -> AccountProxy:
        account = self._accounts.setdefault(owner, Account(owner))
        proxy: AccountProxy = uactor.proxy(account, 'Account')
        return proxy

    def any_account(self) -> Account:
        return Account('nobody')


with Bank() as bank:
    account = bank.account('ann')
    print(account.pay_in(5), account.pay_in_twice(10))
    print(account == bank.account('ann'), account == bank.account('bob'))
    try:
        account._callmethod('close')
    except AttributeError as error:
        print(type(error).__name__, error)
    print(bank.any_account().pay_in(1))
