"""A run on an image classifier: what its rows hold, and what is refused before anything is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from classifiers import hf_folder, net

from cl_forget.config.run import Run
from cl_forget.evaluation.metrics import kl_divergence
from cl_forget.ground.errors import UserError
from cl_forget.run.shared import Setup
from cl_forget.run.simulate import simulate
from cl_forget.run.simulation import Simulation
from cl_forget.streams.base import Experience
from cl_forget.training.checkpoints import RunFolder
from cl_forget.training.probes import fit_linear_probe

BASE: dict[str, Any] = {
    "model": "net:resnet",
    "stream": {"squares": {"tasks": 2, "per_class": 4}},
    "suites": ["colours", {"agreement": {"of": "colours"}}],
    "probes": ["colour-probe"],
    "train": {"epochs": 1, "batch_size": 6, "lr": 3e-3},
    "evaluate": {"curves": False},
}


def probe_of(task: Experience) -> torch.Tensor:
    """The weights of a linear probe on one task, from the network itself."""
    model = net("resnet")
    assert task.train is not None and task.labels is not None
    samples = model.prepare(task.train, task, "train")
    with torch.no_grad():
        embedding = model(samples.batch(torch.arange(len(samples)))).embedding
    return fit_linear_probe(embedding, samples.targets, len(task.labels.classes)).weight


def test_row_0_is_a_linear_probe_for_each_task_and_the_own_head_for_suites() -> None:
    setup = Setup(Run.parse(BASE))
    for task in setup.experiences:
        torch.testing.assert_close(setup.weights[f"heads.{task.name}.weight"], probe_of(task))
    result = simulate(Run.parse(BASE), setup=setup)
    first, last = result.rows[0], result.rows[-1]
    agreement = "colours-agreement"
    assert first.suites[agreement].test.accuracy == 1 and first.suites[agreement].test.kl_to_base == 0
    kept = last.suites[agreement].test
    assert kept.accuracy is not None and 0 <= kept.accuracy <= 1 and kept.kl_to_base and kept.kl_to_base > 0
    assert last.suites["colours"].test.accuracy is not None
    assert all(scores.test.kl_to_base and scores.test.kl_to_base > 0 for scores in last.tasks.values())
    assert result.metrics["test"]["delta_lp"] is not None
    assert any("linear probe" in note for note in result.notes)


def test_divergence_is_that_of_the_own_head(tmp_path: Path) -> None:
    run = Run.parse({**BASE, "probes": []})
    with Simulation.open(run, RunFolder(tmp_path, lasting=False)) as simulation:
        assert isinstance(simulation, Simulation)
        simulation.evaluate(after=None)
        simulation.fine_tune(simulation.stages[0])
        simulation.evaluate(after=simulation.stages[0])
        task = simulation.experiences[0]
        samples = simulation.evaluator.prepared(task, "test")
        batch = samples.batch(torch.arange(len(samples)))
        with torch.no_grad():
            before, now = simulation.base.model.net(batch.inputs), simulation.model.eval().net(batch.inputs)
        expected = kl_divergence(before.numpy(), now.numpy()).mean()
        assert simulation.rows[-1].tasks[task.name].test.kl_to_base == pytest.approx(expected, rel=1e-5)
        assert simulation.evaluator.sampled_kl() > 0


def test_suites_that_cannot_be_answered_are_refused_before_training(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="asks for classes that 'net:resnet' was not pre-trained on"):
        simulate(Run.parse({**BASE, "suites": ["dice"]}))
    with pytest.raises(UserError, match="asks how often own answers stay, which 'tiny-clip' has no head for"):
        simulate(Run.parse({**BASE, "model": "tiny-clip", "suites": [{"agreement": {"of": "colours"}}]}))
    folder = hf_folder(tmp_path, "dinov2", classifies=False)
    with pytest.raises(UserError, match="has no head of its own"):
        simulate(Run.parse({**BASE, "model": f"hf-image:{folder}"}))


def test_an_encoder_without_a_head_is_measured_by_probes(tmp_path: Path) -> None:
    folder = hf_folder(tmp_path, "dinov2", classifies=False)
    result = simulate(Run.parse({**BASE, "model": f"hf-image:{folder}", "suites": []}))
    found = result.metrics["test"]
    assert found["speciality"] is not None and found["delta_lp"] is not None and found["generality"] is None
    assert found["kl_to_base"] is not None  # over the tasks' classes: there are no others


def test_classes_that_come_one_after_another_see_no_later_data() -> None:
    setup = Setup(Run.parse({**BASE, "stream": ["halves"], "suites": [], "probes": []}))
    torch.testing.assert_close(setup.weights["heads.all.weight"], probe_of(setup.experiences[0]))
