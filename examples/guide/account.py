import uactor


class Account:
    """The logic, which knows nothing of processes."""

    def __init__(self, balance: int = 0) -> None:
        self.balance = balance

    def pay_in(self, amount: int) -> int:
        if amount <= 0:
            raise ValueError('there is nothing to pay in')
        self.balance += amount
        return self.balance


class AccountActor(Account, uactor.Actor):
    _exposed_ = ('pay_in', 'balance')
