"""Heads fitted by a linear probe: which data they are fitted on, and that they are there after a resume."""

from __future__ import annotations

import pytest
import torch
from drive import (
    TASKS,
    assert_close,
    clip,
    distance,
    naive,
    resumed,
    shared_head,
    task_of,
    tuned,
    weights,
)
from test_sam import resnet
from tiny import colours

from cl_forget.mitigations import Chain
from cl_forget.mitigations.flow import FLOW
from cl_forget.mitigations.freeze import Freeze
from cl_forget.mitigations.l1_sp import L1SP
from cl_forget.mitigations.l2_sp import L2SP
from cl_forget.mitigations.linear_probe import LinearProbe
from cl_forget.mitigations.lp_ft import LinearProbeThenFineTune
from cl_forget.mitigations.zscl import ZSCL
from cl_forget.training.context import Trainable, Update
from cl_forget.training.loop import training_mode
from cl_forget.training.probes import LinearProbe as Probe
from cl_forget.training.probes import fit_linear_probe


def probe_on(model, *tasks) -> Probe:
    """The probe on the training data of all `tasks` together."""
    embeddings, labels = [], []
    model.eval()  # another attention kernel rounds otherwise, and a probe of separable data amplifies that
    for task in tasks:
        samples = model.prepare(task.train, task, "train")
        with torch.no_grad():
            embeddings.append(model.encode(samples.batch(torch.arange(len(samples))).inputs)[0])
        labels.append(samples.targets)
    return fit_linear_probe(torch.cat(embeddings), torch.cat(labels), len(tasks[0].labels.classes))


def same_head(found, head: str, probe: Probe, rows=slice(None)) -> bool:
    weight, bias = found[f"heads.{head}.weight"][rows], found[f"heads.{head}.bias"][rows]
    return torch.allclose(weight, probe.weight[rows], atol=1e-8) and torch.allclose(
        bias, probe.bias[rows], atol=1e-8
    )


def test_the_trunk_stays_and_every_task_has_its_probe() -> None:
    model = clip()
    before = weights(model)
    after = tuned(task_of(model, TASKS[:2]), LinearProbe())
    for task in TASKS[:2]:
        assert same_head(after, task.name, probe_on(clip(), task))
    trunk = [name for name in before if not name.startswith("heads.")]
    assert all(torch.equal(before[name], after[name]) for name in trunk)


def test_joint_training_fits_a_shared_head_on_the_union() -> None:
    """Not on each experience by itself: their logits would not be comparable, and the last one would win."""
    first, second = shared_head()
    after = tuned(task_of(clip([first]), [first, second]), LinearProbe())
    assert same_head(after, "shared", probe_on(clip([first]), first, second))
    assert not same_head(after, "shared", probe_on(clip([first]), second))


def test_in_sequence_a_shared_head_keeps_the_rows_of_classes_that_a_task_lacks() -> None:
    first, second = shared_head()
    model = clip([first])
    kept = tuned(task_of(model, [first]), LinearProbe())
    after = tuned(task_of(model, [second], past=[first]), LinearProbe())
    assert same_head(after, "shared", probe_on(clip([first]), first), rows=slice(0, 2))
    assert same_head(after, "shared", probe_on(clip([first]), second), rows=slice(2, 4))
    assert torch.equal(after["heads.shared.weight"][:2], kept["heads.shared.weight"][:2])


def test_lp_ft_is_fine_tuning_from_the_probe() -> None:
    def loss(images, targets, indices, number):
        embedding = torch.nn.functional.normalize(task.model.encode(images)[0], dim=-1)
        return torch.nn.functional.cross_entropy(task.model.heads[TASKS[0].name](embedding), targets)

    ours = tuned(task_of(clip(), TASKS[:1]), LinearProbeThenFineTune())
    task = task_of(clip(), TASKS[:1])
    probe = probe_on(task.model, TASKS[0])
    with torch.no_grad():
        task.model.heads[TASKS[0].name].weight.copy_(probe.weight)
        task.model.heads[TASKS[0].name].bias.copy_(probe.bias)
    assert_close(ours, naive(task, loss))
    assert distance(ours, tuned(task_of(clip(), TASKS[:1]))) > 1e-3


@pytest.mark.parametrize("method", [LinearProbeThenFineTune(), FLOW()], ids=lambda m: m.name)
@pytest.mark.parametrize("also", [(), ("heads.*",)], ids=["trained", "frozen"])
def test_a_resumed_task_has_its_probe_also_where_the_head_is_frozen(method, also) -> None:
    resumed(lambda: task_of(clip(), TASKS[:1]), method, Freeze(also=also))


def test_reading_class_names_leaves_frozen_normalisation_frozen() -> None:
    """A suite without a head of its own (generic replay) is read in evaluation mode, in the midst of training."""
    model = resnet()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(".bn1." not in name)
    training_mode(model, "update")
    before = {name: module.training for name, module in model.named_modules()}
    assert len(set(before.values())) == 2
    model.zero_shot_head(colours().labels)
    assert {name: module.training for name, module in model.named_modules()} == before


def test_a_frozen_head_stays_the_probe() -> None:
    after = tuned(task_of(clip(), TASKS[:1]), LinearProbeThenFineTune(), Freeze(also=("heads.*",)))
    assert same_head(after, TASKS[0].name, probe_on(clip(), TASKS[0]))


NEAR_THE_START = [
    L2SP(strength=1.0),
    L1SP(strength=1.0),
    L2SP(strength=1.0, anchor="previous"),
    ZSCL(reference="colours"),
]


@pytest.mark.parametrize("first", [LinearProbeThenFineTune(), FLOW()], ids=lambda m: m.name)
@pytest.mark.parametrize("method", NEAR_THE_START, ids=lambda m: m.name + getattr(m, "anchor", ""))
def test_a_probed_head_is_held_where_the_probe_put_it(first, method) -> None:
    """Held at its zero-shot start, its penalty would be the largest by far, and clipping would stop the trunk."""
    task, chain = task_of(clip(), TASKS[:1]), Chain([first, method])
    zero_shot = weights(task.model)
    chain.start(task)
    names = task.model.tunable(TASKS[0])
    parameters = Trainable(names, [task.model.get_parameter(name).requires_grad_(True) for name in names])
    with torch.no_grad():
        chain.each("add_gradient", Update(task, parameters, None, 0))  # type: ignore[arg-type]
    assert not any(gradient.any() for gradient in parameters.gradients)
    head = f"heads.{TASKS[0].name}.weight"
    assert (zero_shot[head] - task.model.get_parameter(head)).norm() > 1


@pytest.mark.parametrize("first", [LinearProbeThenFineTune(), FLOW()], ids=lambda m: m.name)
def test_a_resumed_task_holds_its_head_at_the_same_place(first) -> None:
    resumed(lambda: task_of(clip(), TASKS[:1]), first, L2SP(strength=1.0))
