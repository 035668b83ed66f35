"""What does not go together is refused with the reason; the rest acts in one order."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from drive import TASKS, TRAIN, clip, task_of, tuned
from small import mitigation

from cl_forget.config.run import Run
from cl_forget.ground.errors import UserError
from cl_forget.ground.records import Cost
from cl_forget.mitigations import MITIGATIONS, Chain
from cl_forget.mitigations.claim import Claim
from cl_forget.mitigations.ewc import EWC
from cl_forget.mitigations.flyp_ce import FLYPCrossEntropy
from cl_forget.mitigations.mas import MAS
from cl_forget.mitigations.si import SynapticIntelligence
from cl_forget.run.simulate import simulate
from cl_forget.training.loop import fine_tune

MakeRun = Callable[..., Run]


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


ONE_STAGE = sorted(name for name in MITIGATIONS if mitigation(name).needs_past)


def test_what_has_nothing_to_do_in_a_run_of_one_stage_says_so(
    tiny_run: MakeRun, caplog: pytest.LogCaptureFixture
) -> None:
    stages = [(task,) for task in TASKS]
    assert {"er", "ewc", "lwf", "model_soup", "si"} <= set(ONE_STAGE)
    for name in ONE_STAGE:
        (line,) = Chain([mitigation(name)]).idle(stages[:1])
        assert f"'{name}' keeps what earlier stages taught" in line
        assert Chain([mitigation(name)]).idle(stages) == []
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


@pytest.mark.parametrize(
    "name", [name for name in ONE_STAGE if Claim.ADAPTER not in MITIGATIONS.get(name).claims]
)
def test_in_the_first_stage_they_are_plain_fine_tuning_to_the_bit(name: str) -> None:
    plain, ours = (tuned(task_of(clip(), TASKS[:1]), *methods) for methods in ([], [mitigation(name)]))
    assert all(torch.equal(ours[key], tensor) for key, tensor in plain.items())


def test_the_chain_is_in_canonical_order() -> None:
    names = ["wise_ft", "sam", "l2_sp", "ldifs", "er", "lp_ft"]
    chain = Chain([mitigation(name) for name in names])
    assert [m.name for m in chain] == ["lp_ft", "er", "ldifs", "l2_sp", "sam", "wise_ft"]
    assert [m.name for m in chain.post_hoc] == ["wise_ft"]
