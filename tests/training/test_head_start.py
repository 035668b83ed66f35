"""`train.head`: where the head of each task starts, for every method alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from mitigations.drive import (
    TASKS,
    TRAIN,
    Bigrams,
    clip,
    moved,
    resumed,
    sentences,
    shared_head,
    step_of,
    task_of,
    tuned,
)
from pydantic import ValidationError

from cl_forget.comparison.records import Result
from cl_forget.config.experiment import Experiment
from cl_forget.config.run import Run
from cl_forget.ground.errors import UserError
from cl_forget.ground.records import Cost
from cl_forget.mitigations import MITIGATIONS, Chain
from cl_forget.mitigations.flow import FLOW
from cl_forget.mitigations.kd import KnowledgeDistillation
from cl_forget.mitigations.kl_to_base import KLToBase
from cl_forget.mitigations.l2_sp import L2SP
from cl_forget.mitigations.linear_probe import LinearProbe
from cl_forget.mitigations.task_arithmetic import TaskArithmetic
from cl_forget.run.notes import notes_on, say_once
from cl_forget.run.simulate import simulate
from cl_forget.training.frozen import FrozenModel
from cl_forget.training.head import start_from_probe, starts_from_probe
from cl_forget.training.loop import FineTune
from cl_forget.training.options import Training

MakeRun = Callable[..., Run]
PROBE = TRAIN.model_copy(update={"head": "probe"})
HEAD = ("heads.squares-1.weight", "heads.squares-1.bias")


def numbers(result: Result) -> dict[str, Any]:
    plain = result.model_dump(mode="json", include={"rows", "curves"})
    for row in plain["rows"]:
        del row["cost"]
    for curve in plain["curves"]:
        for point in curve["points"]:
            del point["row"]["cost"]
    return plain


def test_lp_ft_is_plain_fine_tuning_from_the_probe_to_the_bit_and_one_training(tiny_run: MakeRun) -> None:
    train = {"epochs": 2, "batch_size": 8, "lr": 1e-3}
    named = tiny_run(mitigations=["lp_ft"], train=train)
    plain = tiny_run(mitigations=[], train={**train, "head": "probe"})
    both = tiny_run(mitigations=["lp_ft"], train={**train, "head": "probe"})
    assert numbers(simulate(named)) == numbers(simulate(plain)) == numbers(simulate(both))
    assert named.training_key() == plain.training_key() == both.training_key()
    assert plain.training_key() != tiny_run(mitigations=[], train=train).training_key()


STARTS = sorted(
    name
    for name in MITIGATIONS.names()
    if MITIGATIONS.get(name).own_head is None
    and name not in ("avalanche", "joint", "zscl", "sdft", "self_sft")
)


@pytest.mark.parametrize("name", STARTS)
def test_every_method_starts_from_the_same_head(name: str) -> None:
    given = {"freeze": {"blocks": 1}}.get(name, {})
    task = task_of(clip(), TASKS[:1])
    fine_tune = FineTune(task, Chain([MITIGATIONS.get(name)(**given)]), PROBE, Cost(), lambda record: None)
    fine_tune.set_up()
    expected = tuned(task_of(clip(), TASKS[:1]), LinearProbe())
    for parameter in HEAD:
        assert torch.equal(task.model.get_parameter(parameter), expected[parameter])
        assert torch.equal(task.anchor("pretrained")[parameter], expected[parameter])


def test_a_linear_probe_is_the_same_from_either_start() -> None:
    one = tuned(task_of(clip(), TASKS[:1]), LinearProbe())
    two = tuned(task_of(clip(), TASKS[:1]), LinearProbe(), train=PROBE)
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("probe", [True, False])
def test_flow_weighs_by_the_losses_under_the_probed_head(probe: bool) -> None:
    task, reference = task_of(clip(), TASKS[:1]), task_of(clip(), TASKS[:1])
    method = FLOW(probe=probe)
    chain, other = Chain([method]), Chain([FLOW(probe=True)])
    FineTune(task, chain, PROBE, Cost(), lambda record: None).set_up()
    FineTune(reference, other, TRAIN, Cost(), lambda record: None).set_up()
    assert torch.equal(chain.state["flow"]["weights/0"], other.state["flow"]["weights/0"])


@pytest.mark.parametrize("method", [KnowledgeDistillation(strength=1.0), KLToBase(strength=1.0)])
@pytest.mark.parametrize("anchor", ["pretrained", "previous"])
def test_a_teacher_answers_with_the_probed_head(method: Any, anchor: str) -> None:
    """Taught by a zero-shot head, a student would be pulled away from the probe it starts from."""
    method = type(method)(strength=1.0, anchor=anchor)
    task = task_of(clip(), TASKS[:1])
    start_from_probe(task)
    chain = Chain([method])
    chain.start(task)
    task.model.eval()
    (penalty,) = chain.penalties(step_of(task)).values()
    assert abs(float(penalty)) < 1e-9
    moved(task.model)
    (penalty,) = chain.penalties(step_of(task)).values()
    assert float(penalty) > 1e-6


def test_the_trunk_of_a_teacher_runs_once_for_probe_and_penalty() -> None:
    model = clip()
    base = FrozenModel(model)
    task = task_of(model, TASKS[:1], base=base)
    task.frozen._models["previous"] = base
    tuned(task, KnowledgeDistillation(), train=PROBE)
    assert base.samples_run == len(task.sources[0])


def test_averages_start_from_the_probed_head_in_every_task(tiny_run: MakeRun) -> None:
    """At α = 0 the first task's head is its linear probe on the pre-trained trunk, however many tasks follow."""
    train = {"epochs": 2, "batch_size": 8, "lr": 1e-3}
    probe = simulate(tiny_run(mitigations=["linear_probe"], train=train)).rows
    start = simulate(tiny_run(mitigations=[{"wise_ft": 0.0}], train={**train, "head": "probe"})).rows
    lp_ft = simulate(tiny_run(mitigations=["lp_ft", {"wise_ft": 0.0}], train=train)).rows
    for row, expected, other in zip(start[1:], probe[1:], lp_ft[1:], strict=True):
        assert row.tasks["squares-1"].test == expected.tasks["squares-1"].test
        assert row.tasks == other.tasks


def test_the_sum_of_task_vectors_is_the_tuned_model_whatever_head_it_started_from(tiny_run: MakeRun) -> None:
    train = {"epochs": 2, "batch_size": 8, "lr": 1e-3, "head": "probe"}
    plain = simulate(tiny_run(mitigations=[], train=train)).rows[-1]
    summed = simulate(tiny_run(mitigations=[TaskArithmetic(scale=1.0)], train=train)).rows[-1]
    for name, scores in plain.tasks.items():
        assert summed.tasks[name].test.loss == pytest.approx(scores.test.loss, abs=1e-4)
    half = [{"task_arithmetic": 0.5}], [{"wise_ft": 0.5}]
    one, two = (simulate(tiny_run(mitigations=arm, train=train)).rows[-1] for arm in half)
    for name, scores in one.tasks.items():
        assert two.tasks[name].test.loss == pytest.approx(scores.test.loss, abs=1e-4)


def test_a_shared_head_keeps_the_start_of_each_class_in_the_pretrained_end() -> None:
    first, second = shared_head()
    one = task_of(clip([first]), [first])
    start_from_probe(one)
    task = task_of(clip([first]), [second], past=[first])
    with torch.no_grad():
        task.model.heads["shared"].weight[:2] += 1  # what the first task learned
    task.probed = dict(one.probed)
    start_from_probe(task)
    name = "heads.shared.weight"
    assert torch.equal(task.anchor("pretrained")[name][:2], one.probed[name][:2])
    assert torch.equal(task.anchor("pretrained")[name][2:], task.model.get_parameter(name)[2:])
    assert torch.equal(task.anchor("previous")[name], task.model.get_parameter(name))


def test_a_task_that_resumes_has_the_same_start() -> None:
    resumed(lambda: task_of(clip(), TASKS[:1]), L2SP(strength=1.0), train=PROBE)
    resumed(lambda: task_of(clip(), TASKS[:1]), KnowledgeDistillation(), train=PROBE)


def test_a_run_that_resumes_or_takes_over_has_the_same_averages(tiny_run: MakeRun, tmp_path: Any) -> None:
    fields = {"train": {"epochs": 1, "batch_size": 8, "head": "probe"}, "evaluate": {"curves": True}}
    plain = tiny_run(mitigations=[], **fields)
    averaged = tiny_run(mitigations=[{"wise_ft": 0.25}, {"l2_sp": 0.0}], **fields)
    alone = simulate(averaged)
    simulate(plain, tmp_path / "plain")
    assert numbers(simulate(averaged, tmp_path / "taken", donor=tmp_path / "plain")) == numbers(alone)


@pytest.mark.parametrize("name", ["flyp", "flyp_ce"])
def test_heads_made_from_the_text_tower_cannot_start_from_a_probe(name: str, tiny_run: MakeRun) -> None:
    run = tiny_run(mitigations=[name], train={"epochs": 1, "head": "probe"})
    with pytest.raises(UserError, match=rf"'{name}' cannot start from train.head: probe.*head: zero-shot"):
        simulate(run)
    with pytest.raises(ValidationError, match=f"method 'X'.*'{name}' cannot start"):
        Experiment(model="m", stream="s", methods={"X": [name]}, train={"head": "probe"})


def test_a_model_decides_where_nothing_is_said() -> None:
    language, images = Bigrams(), clip()
    assert not starts_from_probe(None, images, TASKS[:1]) and starts_from_probe("probe", images, TASKS[:1])
    assert not starts_from_probe(None, language, [sentences()])
    with pytest.raises(UserError, match="no classification head to fit on 'sentences'"):
        starts_from_probe("probe", language, [sentences()])
    images.zero_shot = False  # a classifier without a text tower
    assert starts_from_probe(None, images, TASKS[:1])
    with pytest.raises(UserError, match=r"reads no class names.*set train\.head: probe"):
        starts_from_probe("zero-shot", images, TASKS[:1])


def test_a_language_model_is_refused_before_anything_is_trained(tmp_path: Any) -> None:
    run = Run(model="pico-lm", stream="pig-latin", train=Training(head="probe"))
    with pytest.raises(UserError, match=r"train\.head: probe is for models with one"):
        simulate(run, tmp_path / "run")


def test_a_run_says_which_heads_start_near_chance(tiny_run: MakeRun) -> None:
    row = simulate(tiny_run(probes=[], train={"epochs": 1, "batch_size": 24})).rows[0]
    for name, accuracy in (("squares-1", 0.36), ("squares-2", 0.9), ("squares-3", None)):
        row.tasks[name].validation.accuracy = accuracy

    def notes(arm: list[Any], **train: Any) -> list[str]:
        run = tiny_run(mitigations=arm, train={"epochs": 1, "batch_size": 8, **train})
        return notes_on(run, run.chain(), clip(), TASKS, row)

    (said,) = notes([])
    assert "squares-1 (36% of 3 classes, chance 33%)" in said and "train.head: probe" in said
    assert "squares-2" not in said and "squares-3" not in said
    assert notes([], head="probe") == notes(["lp_ft"]) == notes(["linear_probe"]) == []


def test_it_says_so_when_it_starts_and_in_its_result(
    tiny_run: MakeRun, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cl_forget.run.notes.NEAR_CHANCE", 1.1)
    say_once.cache_clear()
    run = tiny_run(probes=[], stream={"squares": {"tasks": 1}}, train={"epochs": 1, "batch_size": 24})
    result = simulate(run)
    (said,) = result.notes
    assert said in caplog.text and "squares-1" in said


@pytest.mark.parametrize("head", ["zero_shot", "probed", 1])
def test_bad_values_are_refused(head: Any) -> None:
    with pytest.raises(ValidationError):
        Training(head=head)


def test_the_start_is_counted_in_the_cost(
    tiny_run: MakeRun, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CL_FORGET_CACHE", str(tmp_path))
    stream = {"squares": {"tasks": 1, "per_class": 9}}
    fields = {"stream": stream, "model": "tiny-clip-float64", "probes": [], "suites": []}
    # Row 0 probes every task still to come; under a limit it reads other samples than the start does.
    run = tiny_run(
        **fields,
        train={"epochs": 1, "batch_size": 8, "head": "probe"},
        evaluate={"curves": False, "limit": 2},
    )
    cost = simulate(run).rows[-1].cost
    assert cost.frozen_samples == 27
