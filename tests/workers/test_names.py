"""Names that a script has registered, in its workers."""

import pickle

import pytest

from archscout.core import registry
from archscout.core.registry import create, register
from archscout.core.strategy import Strategy
from archscout.workers.engines import engine
from archscout.workers.names import with_names
from archscout.workers.pickling import dumps

SCRIPT = '''
class Mine(Strategy):
    """Of a script."""
    def __init__(self, n: int = 1):
        self.name, self.n = "mine", n
    def propose(self, space, history, rng):
        return space.sample(rng)
'''


@pytest.fixture
def mine(monkeypatch):
    """A strategy as a script or a notebook registers it, which nobody else can import."""
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))
    names = {"__name__": "a_script_of_mine", "Strategy": Strategy}
    exec(SCRIPT, names)
    return register("strategy", "mine")(names["Mine"])


def made(payload, text):
    return create("strategy", text).n + payload


def test_a_worker_knows_what_its_parent_has_registered(mine):
    with engine("local", 1, 100) as workers:
        assert workers.submit(made, "mine:n=7").result() == 107


def test_a_payload_arrives_as_itself_and_what_cannot_be_sent_is_left_out(mine, monkeypatch):
    class Never:
        """Cannot be sent."""

        def __reduce__(self):
            raise RuntimeError("no")

    monkeypatch.setattr(registry, "_registered", {("strategy", "mine"): mine, ("cost", "never"): Never()})
    sent = dumps(with_names({"a": 1}))
    assert set(registry.own()) == {("strategy", "mine"), ("cost", "never")}
    monkeypatch.setattr(registry, "_registered", {})
    monkeypatch.setattr(registry, "_adopted", {})
    assert pickle.loads(sent) == {"a": 1}
    assert set(registry._adopted) == {("strategy", "mine")}
    assert "mine" in registry.names("strategy")
    assert create("strategy", "mine:n=3").n == 3


def test_nothing_is_added_where_nothing_was_registered(monkeypatch):
    monkeypatch.setattr(registry, "_registered", {})
    payload = {"a": 1}
    assert with_names(payload) is payload
    register("strategy", "random")(create)
    assert with_names(payload) is payload, "a built-in name is known everywhere"
