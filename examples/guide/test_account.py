from collections.abc import Iterator

import pytest
from account import Account, AccountActor

import uactor


def test_the_logic_needs_no_process() -> None:
    account = Account(3)
    assert account.pay_in(4) == account.balance == 7


@pytest.fixture
def account() -> Iterator[AccountActor]:
    with AccountActor(3) as account:
        yield account


def test_an_exception_of_the_actor_is_raised_here(account: AccountActor) -> None:
    with pytest.raises(ValueError, match='nothing to pay in'):
        account.pay_in(0)


def test_each_test_has_an_actor_of_its_own(account: AccountActor) -> None:
    assert account.balance == 3


def test_callers_learn_that_an_actor_has_been_killed() -> None:
    account = AccountActor()
    process = account._manager.process  # the proxy of a `with` block has none
    assert process is not None
    process.kill()
    process.join()
    with pytest.raises(uactor.ActorDiedError) as caught:
        account.pay_in(1)
    assert caught.value.executed == 'no'
