"""The conformance kit finds methods that break a promise, and says which."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cl_forget.method import Field, Mitigation, UserError
from cl_forget.mitigations import MITIGATIONS
from cl_forget.testing import check_method
from cl_forget.testing.checks import PARTNERS, _partners


class Pull(Mitigation):
    """Pulls every weight towards its start.

    Attributes:
        strength: λ.
    """

    name = "pull"
    place = "gradient"
    knob = "strength"
    grid = (0.1, 1.0)
    absent = 0.0
    needs_full_weights = True
    title = "Pull"
    formula = "loss + λ·Σ(θ-θ*)²"
    source = "this test"

    strength: float = Field(default=0.1, ge=0, description="λ")

    def add_gradient(self, update: Any, state: Any) -> None:
        """`grad += 2λ(θ-θ*)`."""
        parameters = update.parameters
        away = torch._foreach_sub(parameters.values, parameters.align(update.task.anchor("previous")))
        torch._foreach_add_(parameters.gradients, away, alpha=2 * self.strength)


def written_out(factor: float) -> Any:
    def reference(task: Any, state: Any) -> Any:
        start = {name: p.detach().clone() for name, p in task.model.named_parameters()}

        def loss(batch: Any, number: int) -> Any:
            named = ((name, p) for name, p in task.model.named_parameters() if p.requires_grad)
            away = sum((p - start[name]).square().sum() for name, p in named)
            return task.model(batch).unit_losses().mean() + factor * away

        return loss

    return reference


def test_a_sound_method_is_reported_on() -> None:
    report = check_method(Pull, {"strength": 0.5}, reference=written_out(0.5))
    assert report.name == "pull" and report.resumed and report.sharded is None and report.language is None
    assert report.combined and all(names[0] == "pull" for names in report.combined)


def test_a_reference_that_differs_is_told() -> None:
    with pytest.raises(AssertionError, match="pull differs from its reference in"):
        check_method(Pull, {"strength": 0.5}, reference=written_out(0.7))


COUNTED = {"steps": 0}


class Forgets(Pull):
    """Counts its steps where no checkpoint sees it.

    Attributes:
        strength: λ.
    """

    name = "forgets"

    def add_gradient(self, update: Any, state: Any) -> None:
        COUNTED["steps"] = 0 if update.task.resumed and not COUNTED.get("resumed") else COUNTED["steps"] + 1
        COUNTED["resumed"] = update.task.resumed
        torch._foreach_add_(update.parameters.gradients, 0.1 * COUNTED["steps"])


class Whole(Pull):
    """Multiplies whole tensors with parts.

    Attributes:
        strength: λ.
    """

    name = "whole"

    def add_gradient(self, update: Any, state: Any) -> None:
        start = update.task.anchor("previous")
        for name, value, grad in zip(
            update.parameters.names, update.parameters.values, update.parameters.gradients, strict=True
        ):
            grad.add_(value - start[name], alpha=self.strength)


class Undescribed(Pull):
    """Has a field of which it says nothing."""

    name = "undescribed"


class Untrue(Pull):
    """Is not absent where it says so.

    Attributes:
        strength: λ.
    """

    name = "untrue"

    @property
    def is_absent(self) -> bool:
        return False


class Blows(Pull):
    """Ends at weights that are no numbers.

    Attributes:
        strength: λ.
    """

    name = "blows"

    def around_update(self, update: Any, apply: Any, state: Any) -> None:
        apply()
        update.parameters.values[0].fill_(torch.nan)


class Quarrels(Pull):
    """Does not go together with a method that nobody knows.

    Attributes:
        strength: λ.
    """

    name = "quarrels"
    conflicts = {"nobody": "they would undo each other"}  # noqa: RUF012


@pytest.mark.parametrize(
    ("method", "said"),
    [
        (Forgets, "forgets: continued after step"),
        (Undescribed, "undescribed.strength is not in the docstring"),
        (Untrue, "is_absent says no"),
        (Blows, "blows: step 2 of 4 .* is not finite"),
        (Quarrels, "quarrels conflicts with 'nobody'"),
    ],
)
def test_a_broken_promise_is_named(method: type[Mitigation], said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        check_method(method)


class OfTexts(Pull):
    """Has no meaning for images.

    Attributes:
        strength: λ.
    """

    name = "of_texts"

    def start_task(self, task: Any, state: Any) -> None:
        if task.stage[0].labels is not None:
            raise UserError("of_texts is for texts; use pull.")


class OfNothing(OfTexts):
    """Has no meaning at all.

    Attributes:
        strength: λ.
    """

    name = "of_nothing"

    def start_task(self, task: Any, state: Any) -> None:
        raise UserError("of_nothing is for nothing.")


def test_a_method_for_texts_is_checked_on_texts() -> None:
    report = check_method(OfTexts)
    assert report.vision == "of_texts is for texts; use pull." and report.language is None
    assert report.resumed and report.combined
    with pytest.raises(AssertionError, match="of_nothing is refused on both models"):
        check_method(OfNothing)


def test_whole_tensors_mixed_with_parts_do_not_pass() -> None:
    with pytest.raises(RuntimeError, match="DTensor"):
        check_method(Whole)


def test_what_is_combined_with_what_does_not_depend_on_other_methods() -> None:
    def drawn() -> list[list[str]]:
        return [[m.name for m in partners] for partners in _partners(Pull(), 5)]

    before = drawn()
    MITIGATIONS.add("a_new_one", f"{__name__}:Pull")
    try:
        assert drawn() == before and len(before) == 5
    finally:
        MITIGATIONS._entries.pop("a_new_one")
        MITIGATIONS.additions.pop("a_new_one")
    assert {name for name, _ in PARTNERS} <= set(MITIGATIONS)
