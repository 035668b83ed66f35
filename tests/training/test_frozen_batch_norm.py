"""`train.batch_norm` on a real open_clip ResNet tower: whose statistics normalise, and what that costs."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from mitigations.drive import TASKS, TRAIN, assert_close, clip, naive, task_of, tuned, weights
from tiny import tiny_resnet
from torch import nn
from torch.nn import functional as F

from cl_forget.comparison.records import Result
from cl_forget.config.run import Run
from cl_forget.evaluation.batch_norm import statistics
from cl_forget.mitigations import MITIGATIONS
from cl_forget.run.simulate import simulate
from cl_forget.training.loop import training_mode
from cl_forget.training.workers import refuse_model

MakeRun = Callable[..., Run]
UPDATE = TRAIN.model_copy(update={"batch_norm": "update"})
_resnet = functools.cache(tiny_resnet)


def resnet() -> Any:
    model = copy.deepcopy(_resnet())
    for task in TASKS[:2]:
        model.add_task(task)
    return model


def batch_norms(model: nn.Module) -> list[nn.BatchNorm2d]:
    return [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]


@pytest.mark.parametrize("mode", ["frozen", "update"])
def test_agrees_with_a_loop_written_out(mode: str) -> None:
    train = TRAIN.model_copy(update={"batch_norm": mode})
    task = task_of(resnet(), TASKS[:1])
    task.model.train()
    if mode == "frozen":
        for module in batch_norms(task.model):
            module.eval()

    def loss(images: Any, targets: Any, indices: Any, number: int) -> Any:
        embedding = F.normalize(task.model.clip.visual(images), dim=-1)
        return F.cross_entropy(task.model.heads["squares-1"](embedding), targets)

    expected = naive(task, loss)
    found = tuned(task_of(resnet(), TASKS[:1], train=train), train=train)
    assert_close(found, expected, atol=1e-9)
    moved = [name for name in statistics(resnet()) if not torch.equal(found[name], weights(resnet())[name])]
    assert bool(moved) == (mode == "update")
    affine = "clip.visual.bn1.weight"
    assert not torch.equal(found[affine], weights(resnet())[affine]), "weight and bias are trained either way"


FIELDS: dict[str, Any] = {
    "zscl": {"reference": "colour-probe"},
    "er": {"memory": 6},
    "derpp": {"memory": 6},
    "freeze": {"also": ["*layer1*"]},
}
# Tested below; re-estimates; needs blocks; need a language model.
ELSEWHERE = {"avalanche", "batch_norm", "layer_decay", "sdft", "self_sft"}


@pytest.mark.parametrize("name", sorted(set(MITIGATIONS.names()) - ELSEWHERE))
def test_no_way_of_training_moves_frozen_statistics(name: str, tiny_run: MakeRun, tmp_path: Path) -> None:
    cls = MITIGATIONS.get(name)
    fields = {name: {**FIELDS.get(name, {}), **({"rank": 2} if "rank" in cls.model_fields else {})}}
    run = tiny_run(
        model="tiny-resnet",
        stream={"squares": {"tasks": 2, "per_class": 4}},
        probes=[],
        mitigations=[fields],
        train={"epochs": 1, "batch_size": 6, "lr": 1e-3},
    )
    result = simulate(run, tmp_path / "run")
    from safetensors.torch import load_file

    (file,) = (tmp_path / "run").glob("open_clip_model.safetensors")
    after, before = load_file(file), resnet().clip.state_dict()
    kept = [n for n in before if n.endswith(("running_mean", "running_var", "num_batches_tracked"))]
    assert kept and all(torch.equal(after[n], before[n]) for n in kept)
    assert all(row.restored is None for row in result.rows)


def test_avalanche_s_loop_keeps_them_too(tiny_run: MakeRun, tmp_path: Path) -> None:
    fields = {"model": "tiny-resnet", "stream": {"squares": {"tasks": 1, "per_class": 4}}, "probes": []}
    arm = {"mitigations": [{"avalanche": {"strategy": "Naive"}}]}
    for mode in ("frozen", "update"):
        train = {"epochs": 1, "batch_size": 6, "batch_norm": mode}
        result = simulate(tiny_run(**fields, **arm, train=train))
        assert (result.rows[-1].restored is None) == (mode == "frozen")


def test_a_model_without_batch_norm_has_the_same_bits_either_way(tiny_run: MakeRun) -> None:
    one, two = (tuned(task_of(clip(), TASKS[:1]), train=train) for train in (TRAIN, UPDATE))
    assert all(torch.equal(one[name], two[name]) for name in one)
    result = simulate(tiny_run(train={"epochs": 1, "batch_size": 8, "batch_norm": "update"}))
    assert all(row.restored is None for row in result.rows)
    assert result.metrics["test"]["generality_restored"] is None
    said = [note for note in result.notes if "BatchNorm" in note]
    assert said == ["train.batch_norm: update has no effect: the model has no BatchNorm."]


@pytest.fixture(scope="module")
def updated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    """Two tasks with the statistics overwritten, fast enough that it hurts."""
    folder = tmp_path_factory.mktemp("updated")
    run = Run.parse(
        {
            "model": "tiny-resnet",
            "stream": {"squares": {"tasks": 2}},
            "suites": ["colours"],
            "train": {"epochs": 3, "batch_size": 8, "lr": 3e-3, "batch_norm": "update"},
        }
    )
    return simulate(run, folder), folder


def test_the_share_of_the_statistics_is_measured_with_those_of_the_start_put_back(
    updated: tuple[Result, Path],
) -> None:
    from safetensors.torch import load_file
    from tiny import colours

    result, folder = updated
    assert result.rows[0].restored is None and all(row.restored is not None for row in result.rows[1:])
    model = resnet()
    before = weights(model)
    model.clip.load_state_dict(load_file(folder / "open_clip_model.safetensors"))
    for name in statistics(model):  # by hand
        model.get_buffer(name).copy_(before[name])
    suite = colours()
    samples = model.prepare(suite.test, suite, "test")
    model.eval()
    with torch.no_grad():
        right = model(samples.batch(torch.arange(len(samples)))).logits.argmax(1) == samples.targets
    restored = result.rows[-1].restored
    assert restored is not None
    assert restored.suites["colours"].test.accuracy == pytest.approx(float(right.double().mean()))
    metrics = result.metrics["test"]
    assert metrics["generality_restored"] == restored.suites["colours"].test.accuracy
    assert metrics["speciality_restored"] == pytest.approx(
        sum(task.test.accuracy or 0 for task in restored.tasks.values()) / 2
    )
    lost = metrics["generality_pretrained"] - metrics["generality"]
    back = metrics["generality_restored"] - metrics["generality"]
    assert metrics["statistics_share"] == (pytest.approx(back / lost) if lost > 0 else None)


def test_the_tuned_model_itself_is_measured_and_kept_as_it_was(updated: tuple[Result, Path]) -> None:
    from safetensors.torch import load_file

    _, folder = updated
    after, before = load_file(folder / "open_clip_model.safetensors"), resnet().clip.state_dict()
    assert not torch.equal(after["visual.bn1.running_mean"], before["visual.bn1.running_mean"])


def test_the_report_shows_the_share(updated: tuple[Result, Path], tmp_path: Path) -> None:
    from cl_forget.reporting import report

    written = report([updated[0]], tmp_path)
    assert "generality_restored" in written.csv.read_text().splitlines()[0]
    assert "statistics put back" in written.markdown.read_text()


@pytest.mark.parametrize(
    ("mode", "arm", "words"),
    [
        ("update", ["wise_ft"], "mixed by wise_ft"),
        ("update", ["model_soup", "restart"], "mixed by model_soup"),
        ("update", ["wise_ft", "batch_norm"], None),
        ("update", [], None),
        ("frozen", ["wise_ft"], None),
        ("frozen", ["wise_ft", "batch_norm"], "batch_norm replaces"),
    ],
)
def test_a_run_says_what_became_of_mixed_statistics(
    mode: str, arm: list[str], words: str | None, tiny_run: MakeRun
) -> None:
    train = {"epochs": 1, "batch_size": 8, "batch_norm": mode}
    stream = {"squares": {"tasks": 1, "per_class": 4}}
    run = tiny_run(model="tiny-resnet", stream=stream, probes=[], mitigations=arm, train=train)
    said = [note for note in simulate(run).notes if "BatchNorm" in note]
    assert [words in note for note in said] == ([True] if words else [])  # type: ignore[operator]


def test_frozen_statistics_do_not_depend_on_the_batch_and_can_be_sharded() -> None:
    model = resnet().requires_grad_(True)
    model.clip.logit_scale.requires_grad_(False)
    refuse_model(model, "frozen")
    training_mode(model, "frozen")
    assert model.training and not any(module.training for module in batch_norms(model))
