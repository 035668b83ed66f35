"""A setting is written in one way, says nothing twice, and two that differ are told apart."""

from __future__ import annotations

from typing import Any

import pytest

from cl_forget.comparison.arms import control_of
from cl_forget.comparison.settings import setting_key, setting_label, settings_of, what_differs, written
from cl_forget.comparison.trials import Trial


def trial(**fields: Any) -> Trial:
    return Trial(**{"sweep": "s", "id": "t", "method": "M", **fields})


@pytest.mark.parametrize(
    ("fields", "label"),
    [
        ({}, ""),
        ({"knob": "huber_sp.strength", "value": 0.01}, "strength = 0.01"),
        # What the sweep has varied is the knob itself: it is not said twice.
        (
            {"knob": "huber_sp.strength", "value": 0.01, "config": {"huber_sp.strength": 0.01}},
            "strength = 0.01",
        ),
        (
            {"knob": "l2_sp.strength", "value": 0.1, "config": {"train.lr": 5e-4, "l2_sp.strength": 0.1}},
            "strength = 0.1, train.lr = 0.0005",
        ),
        ({"knob": "lora.rank", "value": None, "config": {"lora.rank": None}}, "lora.rank = null"),
        ({"config": {"stream": ["a"], "seed": 3, "train.clip": True}}, "train.clip = true"),
        ({"mitigations": [{"lora": {"rank": 8, "all": True}}]}, "lora.rank = 8"),
    ],
)  # fmt: skip
def test_labels(fields: dict[str, Any], label: str) -> None:
    assert setting_label(trial(**fields)) == label


def test_settings_that_differ_have_labels_that_differ() -> None:
    near = [0.1, 0.10000001, 1e-3, 0.001000000001]
    trials = [trial(id=str(v), knob="l2_sp.strength", value=v, config={"l2_sp.strength": v}) for v in near]
    assert len({setting_label(one) for one in trials}) == len({setting_key(one) for one in trials}) == 4
    assert [s.value for s in settings_of(trials)["M"]] == sorted(near)
    assert what_differs([{"train.lr": v} for v in near]) == [f"train.lr={written(v)}" for v in near]


def test_a_setting_is_the_same_on_every_seed_and_stream() -> None:
    first = trial(seed=0, config={"train.lr": 1.0, "seed": 0})
    second = trial(seed=1, config={"train.lr": 1.0, "seed": 1, "stream": ["b"]})
    assert setting_key(first) == setting_key(second) and setting_label(first) == setting_label(second)


@pytest.mark.parametrize(
    ("arms", "control"),
    [
        ({"a": [{"ldifs": {}}], "plain": []}, "plain"),
        ({"longer": [], "full fine-tuning": []}, "full fine-tuning"),
        ({"longer": [], "shorter": []}, "longer"),
        ({"unknown": None, "a": [{"ldifs": {}}]}, None),
        ({}, None),
    ],
)
def test_the_control(arms: dict[str, Any], control: str | None) -> None:
    assert control_of(arms) == control
