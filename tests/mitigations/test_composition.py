"""Any legal subset works, in any order of listing; a strength of 0 is absence; the rest is refused."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from drive import TASKS, TRAIN, clip, task_of, tuned

from cl_forget.comparison.records import Result
from cl_forget.config.run import Run
from cl_forget.ground.errors import UserError
from cl_forget.ground.records import Cost
from cl_forget.mitigations import MITIGATIONS, PLACES, Chain, Mitigation
from cl_forget.mitigations.ewc import EWC
from cl_forget.mitigations.flyp_ce import FLYPCrossEntropy
from cl_forget.mitigations.mas import MAS
from cl_forget.mitigations.si import SynapticIntelligence
from cl_forget.run.simulate import simulate
from cl_forget.training.loop import fine_tune

MakeRun = Callable[..., Run]

DRAWS = int(os.environ.get("CL_FORGET_COMPOSITIONS", "20"))
"""How many random combinations to run; the environment variable asks for more."""

# What a method needs beyond its defaults to run on the tiny model.
FIELDS: dict[str, dict[str, Any]] = {
    "zscl": {"reference": "colour-probe", "average_every": 2},
    "lora": {"rank": 4},
    "o_lora": {"rank": 4},
    "lora_null": {"rank": 4},
    "freeze": {"blocks": 1},
    "early_stopping": {"patience": 5},
    "hma": {"groups": 2},
    "er": {"memory": 6},
    "derpp": {"memory": 6},
}


def mitigation(name: str, **more: Any) -> Mitigation:
    cls: type[Mitigation] = MITIGATIONS.get(name)
    return cls(**{k: v for k, v in {**FIELDS.get(name, {}), **more}.items() if k in cls.model_fields})


def legal(names: list[str]) -> bool:
    try:
        Chain([mitigation(name) for name in names])
    except UserError:
        return False
    return True


def drawn() -> list[list[str]]:
    """Random legal combinations of 2 to 4 methods, the same ones every time."""
    chance, found = random.Random(0), []
    while len(found) < DRAWS:
        names = chance.sample(MITIGATIONS.names(), chance.randint(2, 4))
        if legal(names):
            found.append(names)
    return found


@pytest.fixture
def outcome(tiny_run: MakeRun) -> Callable[[list[Mitigation]], dict[str, Any]]:
    """Every number of a short two-task run."""

    def run(mitigations: list[Mitigation]) -> dict[str, Any]:
        result = simulate(
            tiny_run(
                mitigations=mitigations,
                stream={"squares": {"tasks": 2, "per_class": 4}},
                probes=[],
                train={"epochs": 1, "batch_size": 4, "lr": 1e-3},
            )
        )
        return numbers(result)

    return run


def numbers(result: Result) -> dict[str, Any]:
    plain = result.model_dump(mode="json", include={"rows"})
    for row in plain["rows"]:
        del row["cost"]
    return plain


@pytest.mark.parametrize("names", drawn(), ids=" + ".join)
def test_a_legal_combination_runs_and_its_listing_order_does_not_matter(
    outcome: Callable[[list[Mitigation]], dict[str, Any]], names: list[str]
) -> None:
    methods = [mitigation(name) for name in names]
    assert outcome(methods) == outcome(methods[::-1])


@pytest.mark.parametrize("name", [n for n in MITIGATIONS.names() if MITIGATIONS.get(n).absent is not None])
def test_the_absent_value_of_a_knob_is_absence(
    outcome: Callable[[list[Mitigation]], dict[str, Any]], name: str
) -> None:
    cls = MITIGATIONS.get(name)
    companion = next(other for other in ("l2_sp", "kd", "wise_ft") if other != name and legal([name, other]))
    absent = mitigation(name, **{cls.knob: cls.absent})
    assert outcome([absent, mitigation(companion)]) == outcome([mitigation(companion)])


def test_every_method_is_described() -> None:
    for name in MITIGATIONS:
        cls = MITIGATIONS.get(name)
        assert cls.name == name
        assert cls.place in PLACES
        assert cls.title and cls.formula and cls.source
        assert (cls.knob is None) == (cls.grid == ())
        assert cls.knob is None or cls.knob in cls.model_fields
        for field in cls.model_fields:
            assert f"{field}:" in (cls.__doc__ or ""), f"{name}.{field} is not in the docstring's Attributes"


def test_every_conflict_names_a_method_and_a_reason() -> None:
    for name in MITIGATIONS:
        for other, reason in MITIGATIONS.get(name).conflicts.items():
            assert other in MITIGATIONS
            assert len(reason) > 20
            with pytest.raises(UserError, match="cannot be combined"):
                Chain([mitigation(name), mitigation(other)])


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["linear_probe", "ldifs"], "never trains the trunk"),
        (["lora", "l2_sp"], "adapters have no earlier values"),
        (["lora", "o_lora"], "both decide the adapter"),
        (["sam", "asam"], "both decide the point of the gradient"),
        (["flyp", "flow"], "both decide the head initialisation"),
        (["wise_ft", "hma"], "both decide the average with the pre-trained weights"),
        (["kd", "flyp"], "kd"),
        (["derpp", "joint"], "joint"),
        (["linear_probe", "frozen_trunk"], "both decide the freezing of the trunk"),
        (["er", "flyp"], "made anew from the text tower only after"),
        (["derpp", "flyp_ce"], "made anew from the text tower only after"),
        (["early_stopping", "flyp_ce"], "made anew from the text tower only after"),
        (["early_stopping", "zscl"], "average of its weights"),
        (["ewc", "flyp_ce"], "the text tower would go unprotected"),
        (["mas", "flyp"], "the text tower would go unprotected"),
    ],
)
def test_nonsense_is_refused_with_the_reason(names: list[str], reason: str) -> None:
    for order in (names, names[::-1]):
        with pytest.raises(UserError, match=reason):
            Chain([mitigation(name) for name in order])


def test_importances_of_ewc_and_mas_do_not_cover_what_flyp_trains() -> None:
    """Why these two are refused beside it, and SI, which follows whatever is trained, is not."""
    model = clip()
    task = task_of(model, TASKS[:1])
    for method in (EWC(), MAS()):
        state = method.keeps()
        method.end_task(task, state)
        covered = {name.removeprefix("importance/") for name in state if name.startswith("importance/")}
        assert covered == set(model.tunable(TASKS[0]))
        assert covered.isdisjoint(model.text_parameters())
    si = Chain([SynapticIntelligence(), FLYPCrossEntropy()])
    fine_tune(task, si, TRAIN, Cost())
    assert {f"importance/{name}" for name in model.text_parameters()} <= set(si.state["si"])


ONE_STAGE = ["derpp", "er", "ewc", "lwf", "mas", "model_soup", "o_lora", "si"]


def test_what_has_nothing_to_do_in_a_run_of_one_stage_says_so(
    tiny_run: MakeRun, caplog: pytest.LogCaptureFixture
) -> None:
    stages = [(task,) for task in TASKS]
    said = {name: Chain([mitigation(name)]).idle(stages[:1]) for name in MITIGATIONS if name != "avalanche"}
    assert sorted(name for name, lines in said.items() if lines) == ONE_STAGE
    assert not any(Chain([mitigation(name)]).idle(stages) for name in ONE_STAGE)
    generic = [
        mitigation("ewc", prior="task"),
        mitigation("mas", prior="colours"),
        mitigation("er", replay="colours"),
    ]
    assert Chain(generic).idle(stages[:1]) == []
    one = {"squares": {"tasks": 1, "per_class": 4}}
    simulate(
        tiny_run(mitigations=["ewc"], stream=one, probes=[], suites=[], train={"epochs": 1, "batch_size": 4})
    )
    assert "'ewc' keeps what earlier stages taught, and this run has a single one" in caplog.text


@pytest.mark.parametrize("name", [name for name in ONE_STAGE if name != "o_lora"])
def test_in_the_first_stage_they_are_plain_fine_tuning_to_the_bit(name: str) -> None:
    plain, ours = (tuned(task_of(clip(), TASKS[:1]), *methods) for methods in ([], [mitigation(name)]))
    assert all(torch.equal(ours[key], tensor) for key, tensor in plain.items())


def test_the_chain_is_in_canonical_order() -> None:
    names = ["wise_ft", "sam", "l2_sp", "ldifs", "er", "lp_ft"]
    chain = Chain([mitigation(name) for name in names])
    assert [m.name for m in chain] == ["lp_ft", "er", "ldifs", "l2_sp", "sam", "wise_ft"]
    assert [m.name for m in chain.post_hoc] == ["wise_ft"]
