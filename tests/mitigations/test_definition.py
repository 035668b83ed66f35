"""A method's class is checked when it is defined: each mistake is one line that names the cure."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cl_forget.ground.errors import UserError
from cl_forget.method import BadMethod, Claim, Field, Mitigation, State, Tensors
from cl_forget.mitigations import MITIGATIONS, Chain, register
from cl_forget.mitigations.registry import Methods

SAID = {"name": "mine", "place": "loss", "title": "Mine", "formula": "loss + x", "source": "this test"}


def penalty(self: Any, step: Any, state: Any) -> None:
    return None


def define(body: dict[str, Any] | None = None, without: str = "", **more: Any) -> type[Mitigation]:
    """A class as `class Mine(Mitigation)` makes it: a sound one, with `more` changed and `without` left out."""
    whole = {
        "__module__": __name__, "__qualname__": "Mine", "__doc__": "Mine.\n\nAttributes:\n    strength: λ.",
        "__annotations__": {"strength": float}, "strength": Field(default=1.0, ge=0, description="λ"),
        **SAID, "knob": "strength", "grid": (0.1, 1.0), "absent": 0.0, "penalty": penalty, **(body or {}), **more,
    }  # fmt: skip
    whole.pop(without, None)
    return type(Mitigation)("Mine", (Mitigation,), whole)


def test_a_sound_class_is_taken() -> None:
    assert define()(strength=2.0).with_knob(0.0).is_absent


async def later(self: Any, step: Any, state: Any) -> None:
    return None


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"without": "name"}, "`name` is missing"),
    ({"without": "title"}, "`title` is missing"),
    ({"without": "formula"}, "`formula` is missing"),
    ({"without": "source"}, "`source` is missing"),
    ({"without": "place"}, "`place` is missing"),
    ({"title": "  "}, "`title` is missing"),
    ({"name": "my method"}, "is no word"),
    ({"place": "losses"}, "no place 'losses'. Did you mean 'loss'?"),
    ({"place": "weights"}, "its hooks (penalty) act at loss"),
    ({"without": "penalty"}, "it has no hook"),
    ({"penality": penalty}, "`penality` is no hook. Did you mean 'penalty'?"),
    ({"before_task": lambda self, task, state: None}, "`before_task` is no hook"),
    ({"penalty": lambda self, step: None}, "`penalty(self, step)` is called as `penalty(self, step, state)`"),
    ({"penalty": 3}, "`penalty` is a hook: write it as a method"),
    ({"penalty": later}, "`penalty` is called without await"),
    ({"needs_past": lambda self: True}, "`needs_past` is a property"),
    ({"knob": "strenght"}, "the knob 'strenght' is no field. Did you mean 'strength'?"),
    ({"knob": None}, "`grid` and `absent` are values of a knob"),
    ({"grid": ()}, "`grid` is empty"),
    ({"later": frozenset({"anchor"})}, "`later` names 'anchor', which is no field"),
    ({"grid": 0.5}, "write `grid = (0.5,)`"),
    ({"grid": (0.1, 0.1)}, "names a value twice"),
    ({"grid": (-1.0, 1.0)}, "`grid` holds -1.0, which the field 'strength' refuses"),
    ({"grid": ("much",)}, "`grid` holds 'much'"),
    ({"absent": -1.0}, "`absent` holds -1.0"),
    ({"knobs": "strength"}, "`knobs` is nothing that a method says. Did you mean 'knob'?"),
    ({"radius": Field(default=0.1)}, "A field has a type: `radius: float"),
    ({"claims": frozenset({"task loss"})}, "Did you mean Claim.TASK_LOSS?"),
    ({"claims": frozenset({"everything"})}, "'everything' is no claim"),
    ({"objective": penalty}, "add `claims = frozenset({Claim.TASK_LOSS})`"),
    ({"conflicts": {"lora": ""}}, "conflicts['lora'] gives no reason"),
    ({"conflicts": ["lora"]}, "`conflicts` is written as"),
    ({"conflicts": {"mine": "it is the same method"}}, "names the method itself"),
    ({"keeps": dict}, "`keeps` is a subclass of State"),
    ({"post_hoc": True}, "post_hoc methods only edit weights"),
    ({"whole_only": True}, "`whole_only` is a reason in words"),
    ({"__annotations__": {"strength": float, "name": str}}, "the field `name` hides"),
]


@pytest.mark.parametrize(("change", "said"), MISTAKES, ids=[said for _, said in MISTAKES])
def test_a_mistake_is_one_line_with_the_cure(change: dict[str, Any], said: str) -> None:
    with pytest.raises(BadMethod) as caught:
        define(**change)
    message = str(caught.value)
    assert said in message and message.startswith("class Mine: ") and "\n" not in message
    assert isinstance(caught.value, UserError) and isinstance(caught.value, TypeError)


def test_a_class_that_others_inherit_from_says_nothing_of_itself() -> None:
    class Base(Mitigation, abstract=True):
        strength: float = Field(default=1.0, ge=0, description="λ")

        def penalty(self, step: Any, state: Any) -> None:
            return None

    class One(Base):
        name, place, title, formula, source = "one", "loss", "One", "x", "this test"

    assert One().strength == 1.0
    with pytest.raises(BadMethod, match="class Two: `name` is missing"):

        class Two(Base):
            place, title, formula, source = "loss", "Two", "x", "this test"


def test_a_claim_says_what_it_excludes() -> None:
    Whole = define(claims=frozenset({Claim.ADAPTER}), name="whole")
    with pytest.raises(UserError, match="adapters have no earlier values"):
        Chain([Whole(), MITIGATIONS.get("l2_sp")()])
    with pytest.raises(UserError, match="both decide the adapter; keep one"):
        Chain([Whole(), MITIGATIONS.get("lora")()])


# -- by name -------------------------------------------------------------------------------------------


class Sound(define(name="sound")):  # type: ignore[misc]
    name = "sound"


class Enemy(Sound):
    name = "enemy"
    conflicts = {"nobody": "they would undo each other"}  # noqa: RUF012


def registry() -> Methods:
    return Methods("mitigation", "cl_forget.none", {"l2_sp": "cl_forget.mitigations.l2_sp:L2SP"})


def test_a_method_is_registered_under_its_own_name_once() -> None:
    known = registry()
    assert known.register(Sound) is Sound and known.get("sound") is Sound
    known.register(Sound)
    with pytest.raises(BadMethod, match="the name 'l2_sp' belongs to"):
        known.register(define(name="l2_sp"))
    with pytest.raises(BadMethod, match="at the top of a module"):
        known.register(define(__qualname__="outer.<locals>.Mine"))


def test_what_a_method_says_of_others_is_checked_when_it_is_asked_for() -> None:
    known = registry()
    known.register(Enemy)
    with pytest.raises(BadMethod, match="conflicts with 'nobody', which is no method"):
        known.get("enemy")
    known.add("other", f"{__name__}:Sound")
    with pytest.raises(BadMethod, match="calls itself 'sound'"):
        known.get("other")
    known.add("none", f"{__name__}:registry")
    with pytest.raises(BadMethod, match="no subclass of"):
        known.get("none")


def test_every_method_here_is_known_by_its_name_and_asks_for_known_ones() -> None:
    assert {MITIGATIONS.get(name).name for name in MITIGATIONS} == set(MITIGATIONS)
    assert register.__self__ is MITIGATIONS  # type: ignore[attr-defined]


# -- state ---------------------------------------------------------------------------------------------


class Kept(State):
    count: torch.Tensor
    importance: Tensors


def test_a_state_is_read_by_attribute_and_kept_flat() -> None:
    state = Kept()
    state.count = torch.tensor(3)
    state.importance["a.b"] = torch.ones(2)
    state.importance["c/d"] = torch.zeros(1)
    assert set(state) == {"count", "importance/a.b", "importance/c/d"}
    assert list(state.importance) == ["a.b", "c/d"] and len(state.importance) == 2
    again = Kept(dict(state))
    assert int(again.count) == 3 and "a.b" in again.importance
    state.importance = {"e": torch.ones(1)}  # type: ignore[assignment]
    assert set(state) == {"count", "importance/e"}
    with pytest.raises(AttributeError, match="nothing is kept yet"):
        Kept().count  # noqa: B018


@pytest.mark.parametrize("key", ["counts", "importance", "importance/", "other/a", "count/a"])
def test_what_is_not_declared_cannot_be_kept(key: str) -> None:
    for write in (
        lambda s: s.__setitem__(key, torch.ones(1)),
        lambda s: s.update({key: torch.ones(1)}),
        lambda s: s.setdefault(key, torch.ones(1)),
        lambda s: s.__ior__({key: torch.ones(1)}),
    ):
        state = Kept()
        with pytest.raises(UserError, match="Kept does not declare"):
            write(state)
        assert not state
    with pytest.raises(UserError, match="keep tensors only"):
        Kept()["count"] = 3


def test_a_state_declares_tensors() -> None:
    with pytest.raises(UserError, match="a state declares"):

        class Wrong(State):
            steps: int

    with pytest.raises(UserError, match="by names that a dict does not have"):

        class Taken(State):
            items: Tensors


def test_a_checkpoint_that_holds_other_tensors_is_refused() -> None:
    chain = Chain([MITIGATIONS.get("ewc")()])
    chain.restore({"state/ewc": {"importance/w": torch.ones(1), "pull/w": torch.ones(1)}})
    assert list(chain.state["ewc"].importance) == ["w"]
    with pytest.raises(UserError, match="does not declare 'fisher/w'"):
        chain.restore({"state/ewc": {"fisher/w": torch.ones(1)}})
