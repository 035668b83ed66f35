"""FLOW: the weights, their controls, the linear probe around it, and tokens."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from drive import (
    TASKS,
    TRAIN,
    Bigrams,
    assert_close,
    clip,
    distance,
    moved,
    naive,
    resumed,
    sentences,
    step_of,
    task_of,
    tuned,
)
from pydantic import ValidationError
from torch.nn import functional as F

from cl_forget.ground.errors import UserError
from cl_forget.mitigations import Chain
from cl_forget.mitigations.flow import FLOW
from cl_forget.mitigations.lp_ft import LinearProbeThenFineTune
from cl_forget.training.context import Step
from cl_forget.training.probes import fit_linear_probe


def world():
    model = clip()
    moved(model, by=0.05)
    return task_of(model, TASKS[1:2])


def embed(task):
    with torch.no_grad():
        return task.model.clip.visual(task.sources[0].batch(torch.arange(24)).inputs)


def probed(task):
    """A linear probe on the trunk as it is, put into the head; losses (samples,) under it."""
    targets = task.sources[0].targets
    probe = fit_linear_probe(embed(task), targets, 3)
    head = task.model.heads["squares-2"]
    head.weight.data.copy_(probe.weight)
    head.bias.data.copy_(probe.bias)
    return F.cross_entropy(probe.logits(embed(task)), targets, reduction="none")


def weighted(task, weights):
    def loss(images, targets, indices, number):
        logits = task.model.heads["squares-2"](F.normalize(task.model.clip.visual(images), dim=-1))
        losses = F.cross_entropy(logits, targets, reduction="none")
        return sum(w * one for w, one in zip(weights[indices], losses, strict=True)) / len(indices)

    return loss


def state_of(task, **fields):
    state = FLOW.keeps()
    FLOW(**fields).start_task(task, state)
    return state


def test_agrees_with_the_algorithm_written_out() -> None:
    ours = tuned(world(), FLOW(temperature=1.5))
    task = world()
    losses = probed(task)
    weights = torch.exp(-losses / (1.5 * np.median(losses)))
    naive(task, weighted(task, weights))
    probed(task)  # the head again, plain cross-entropy, on the tuned trunk
    assert_close(ours, task.model.state_dict())

    for wrong in (weights / weights.sum() * 24, weights.flip(0)):  # normalised; on the wrong samples
        task = world()
        probed(task)
        naive(task, weighted(task, wrong))
        probed(task)
        assert distance(ours, task.model.state_dict()) > 1e-4


def test_the_median_sample_gets_a_weight_of_exp_minus_1_and_weights_are_not_normalised() -> None:
    task = world()
    state = state_of(task)
    losses = probed(world())
    weights = state["weights/0"]
    middle = losses.sort().indices[11:13]
    assert math.sqrt(math.prod(weights[middle].tolist())) == pytest.approx(math.exp(-1), rel=1e-6)
    assert weights.max() <= 1 and weights.mean() < 0.9
    assert (weights.argsort(descending=True) == losses.argsort()).all()


def test_weights_are_fixed_before_training() -> None:
    task = world()
    chain = Chain([FLOW()])
    from cl_forget.ground.records import Cost
    from cl_forget.training.loop import fine_tune

    before = state_of(world())["weights/0"]
    fine_tune(task, chain, TRAIN, Cost())
    assert torch.equal(chain.state["flow"]["weights/0"], before)


def test_losses_are_those_of_the_evaluation_mode() -> None:
    task = world()
    task.model.train()
    task.model.clip.visual.transformer.resblocks[0].register_forward_hook(
        lambda module, inputs, output: F.dropout(output, 0.5, module.training)
    )
    again = task_of(task.model, TASKS[1:2])
    assert torch.equal(state_of(again)["weights/0"], state_of(world())["weights/0"])


def test_controls() -> None:
    made = {
        c: state_of(world(), control=c)["weights/0"] for c in FLOW.model_fields["control"].annotation.__args__
    }
    flow = made["none"]
    assert torch.equal(made["uniform"], torch.ones(24, dtype=flow.dtype))
    torch.testing.assert_close(made["uniform_mean"], flow.mean().expand(24))
    for control in ("shuffled", "inverse"):
        assert torch.equal(made[control].sort().values, flow.sort().values)
        assert not torch.equal(made[control], flow)
    assert (made["inverse"].argsort() == flow.argsort(descending=True)).all()
    assert torch.equal(made["shuffled"], state_of(world(), control="shuffled")["weights/0"])


def test_uniform_control_is_lp_ft_with_the_head_fitted_again() -> None:
    ours = tuned(world(), FLOW(control="uniform"))
    task = world()
    tuned(task, LinearProbeThenFineTune())
    probed(task)
    assert_close(ours, task.model.state_dict())


def test_tau_is_the_median_over_the_whole_stage() -> None:
    model = clip()
    task = task_of(model, TASKS[:2])
    state = state_of(task)
    losses = []
    for source, experience in zip(task.sources, task.stage, strict=True):
        logits = model(source.batch(torch.arange(24))).logits
        losses.append(F.cross_entropy(logits, source.targets, reduction="none"))
        assert experience.labels.head in model.heads
    tau = np.median(torch.cat(losses).detach())
    for index, part in enumerate(losses):
        torch.testing.assert_close(state[f"weights/{index}"], torch.exp(-part.detach() / tau))


def test_a_probe_that_fits_perfectly_leaves_finite_weights() -> None:
    assert FLOW()._weigh(torch.tensor([0.0, 0.0, 0.0, 1.0]), world()).tolist() == [1, 1, 1, 0]


@pytest.mark.parametrize("level", ["sample", "unit"])
def test_language_models_weigh_sequences_or_tokens(level: str) -> None:
    model = Bigrams()
    moved(model, by=1.0)
    task = task_of(model, [sentences()])
    samples = task.sources[0]
    state = state_of(task, level=level)
    base = copy.deepcopy(model)
    per_token = []
    for index in range(len(samples)):
        one = samples.batch(torch.tensor([index]))
        per_token.append(F.cross_entropy(base.table(one.inputs), one.targets, reduction="none").detach())
    tokens, means = torch.cat(per_token), torch.stack([part.mean() for part in per_token])
    step = step_of(task)
    step.batch = samples.batch(torch.tensor([7, 2, 19, 0]))
    step.forward = model(step.batch)
    method = FLOW(level=level)
    if level == "sample":
        expected = torch.exp(-means[[7, 2, 19, 0]] / np.median(means))
        found = method.sample_weights(step, state)
        assert method.unit_weights(step, state) is None
    else:
        expected = torch.cat([torch.exp(-per_token[i] / np.median(tokens)) for i in (7, 2, 19, 0)])
        found = method.unit_weights(step, state)
        assert method.sample_weights(step, state) is None
    torch.testing.assert_close(found, expected)


def test_tokens_train_to_the_end() -> None:
    model = Bigrams()
    start = model.table.weight.detach().clone()
    tuned(task_of(model, [sentences()]), FLOW(level="unit"))
    assert not torch.equal(start, model.table.weight)


def test_replayed_data_are_left_alone() -> None:
    task = world()
    step = step_of(task)
    step.batch = task.model.prepare(TASKS[0].train, TASKS[0], "train").batch(torch.arange(4))
    assert FLOW().sample_weights(step, state_of(task)) is None


def test_resumes_to_the_same_bits() -> None:
    resumed(world, FLOW())


def test_heads_are_initialised_once() -> None:
    with pytest.raises(UserError, match="both decide the head initialisation"):
        Chain([FLOW(), LinearProbeThenFineTune()])


@pytest.mark.parametrize("fields", [{"temperature": 0}, {"temperature": math.inf}, {"control": "random"}])
def test_bad_values_are_refused(fields) -> None:
    with pytest.raises(ValidationError):
        FLOW(**fields)


AUGMENTED = TRAIN.model_copy(update={"augment": "shift", "micro_batch_size": 5})


def augmented(train=AUGMENTED):
    model = clip()
    moved(model, by=0.05)
    return task_of(model, TASKS[1:2], train=train)


def test_weights_of_the_batch_are_those_of_the_images_as_training_sees_them() -> None:
    task, method = augmented(), FLOW(views="batch", temperature=1.5)
    state = method.keeps()
    method.start_task(task, state)
    method.request_outputs(task, state)
    frozen = world()
    losses = probed(frozen)
    tau = 1.5 * np.median(losses)
    batch = task.sources[0].batch(torch.arange(24), task.generator("augmentation", 0))
    assert not torch.equal(batch.inputs, task.sources[0].plain().batch(torch.arange(24)).inputs)
    logits = frozen.model.heads["squares-2"](F.normalize(frozen.model.clip.visual(batch.inputs), dim=-1))
    expected = torch.exp(-F.cross_entropy(logits, batch.targets, reduction="none") / tau)
    step = Step(task, batch, task.model(batch), 0)
    torch.testing.assert_close(method.sample_weights(step, state), expected.detach(), atol=1e-5, rtol=0)


def test_without_augmentation_the_batch_is_the_plain_images() -> None:
    # The frozen losses are kept in single precision, and AdamW's first steps make the most of rounding.
    assert_close(tuned(world(), FLOW(views="batch")), tuned(world(), FLOW()), atol=1e-5)


def test_weights_of_the_batch_resume_and_have_no_order_to_shuffle() -> None:
    resumed(augmented, FLOW(views="batch"), train=AUGMENTED)
    for fields in ({"control": "shuffled"}, {"control": "inverse"}, {"level": "unit"}):
        with pytest.raises(ValidationError, match="known for no sample beforehand"):
            FLOW(views="batch", **fields)
