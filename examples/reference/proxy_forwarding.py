import uactor


class MyActor(uactor.Actor):
    _exposed_ = ('my_other_actor', 'my_other_actor_address')

    def __init__(self):
        self.my_other_actor = MyOtherActor()

    @property
    def my_other_actor_address(self):
        return self.my_other_actor.connection_address


class MyOtherActor(uactor.Actor):
    _options_ = {'authkey': b'OtherSecret'}
