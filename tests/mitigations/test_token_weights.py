"""STM, TALR, DFT and ASFT against their weights written out, on classes and on tokens."""

from __future__ import annotations

import math

import pytest
import torch
from drive import (
    TASKS,
    TRAIN,
    Bigrams,
    assert_close,
    clip,
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
from cl_forget.mitigations import Chain, Mitigation
from cl_forget.mitigations.asft import ASFT
from cl_forget.mitigations.dft import DFT
from cl_forget.mitigations.er import ExperienceReplay
from cl_forget.mitigations.flyp import FLYP
from cl_forget.mitigations.stm import STM
from cl_forget.mitigations.talr import TALR
from cl_forget.models.base import Forward
from cl_forget.training.context import Step

WIDE = TRAIN.model_copy(update={"epochs": 2, "batch_size": 23})


def texts():
    """A task of sequences for a model that knows something already."""
    model = Bigrams()
    moved(model, by=1.0)
    return task_of(model, [sentences()], train=WIDE)


def by_hand(probabilities: list[float], rows: list[int] | None = None) -> Step:
    """A step whose targets have these probabilities, of two classes."""
    p = torch.tensor(probabilities, dtype=torch.float64)
    of = None if rows is None else torch.tensor(rows)
    forward = Forward(
        torch.stack([p, 1 - p], 1).log(), torch.zeros(len(p), dtype=torch.long), p[:, None], {}, of
    )
    return Step(None, None, forward, 0)  # type: ignore[arg-type]


def test_talr_by_hand() -> None:
    """Losses of 1, 2, 3 and 6 nats: τ = 2.5; the last one would have .09 and is floored at .1."""
    step = by_hand([math.exp(-loss) for loss in (1, 2, 3, 6)])
    expected = torch.tensor([math.exp(-0.4), math.exp(-0.8), math.exp(-1.2), 0.1], dtype=torch.float64)
    torch.testing.assert_close(TALR(floor=0.1).unit_weights(step, {}), expected)
    expected = torch.tensor([math.exp(-loss / 5) for loss in (1, 2, 3, 6)], dtype=torch.float64)
    torch.testing.assert_close(TALR(temperature=2.0).unit_weights(step, {}), expected)


def test_talr_of_a_batch_known_by_heart_has_full_weights() -> None:
    weights = TALR().unit_weights(by_hand([1.0, 1.0, 1.0]), {})
    assert torch.equal(weights, torch.ones(3, dtype=torch.float64))


def test_dft_by_hand() -> None:
    found = DFT(exponent=2.0).unit_weights(by_hand([0.5, 0.1]), {})
    torch.testing.assert_close(found, torch.tensor([0.25, 0.01], dtype=torch.float64))


@pytest.mark.parametrize("method", [TALR(), DFT(), ASFT()], ids=lambda m: m.name)
def test_no_gradient_flows_through_the_weights(method: Mitigation) -> None:
    step = step_of(task_of(clip(), TASKS[:1]))
    assert not method.unit_weights(step, {}).requires_grad


def test_dft_minimises_the_negative_probability() -> None:
    task = task_of(clip(), TASKS[:1])

    def loss(images, targets, indices, number):
        logits = task.model.heads["squares-1"](F.normalize(task.model.clip.visual(images), dim=-1))
        return -logits.softmax(1).gather(1, targets[:, None]).mean()

    assert_close(tuned(task_of(clip(), TASKS[:1]), DFT()), naive(task, loss))


def test_talr_on_tokens() -> None:
    task = texts()

    def loss(previous, targets, indices, number):
        rows = task.sources[0].batch(indices).sample_of_unit
        losses = F.cross_entropy(task.model.table(previous), targets, reduction="none")
        every = sorted(losses.tolist())
        middle = (every[(len(every) - 1) // 2] + every[len(every) // 2]) / 2
        weighted = [each * max(math.exp(-each.item() / middle), 0.2) for each in losses]
        return sum(
            sum(w for w, row in zip(weighted, rows, strict=True) if row == i) / int((rows == i).sum())
            for i in range(len(indices))
        ) / len(indices)

    assert_close(tuned(texts(), TALR(floor=0.2), train=WIDE), naive(task, loss, train=WIDE))


def stm_written_out(task, threshold: float):
    """The mean over samples of the mean over the tokens that the model expected before training."""
    table = task.model.table.weight.detach().clone()

    def loss(previous, targets, indices, number):
        rows = task.sources[0].batch(indices).sample_of_unit
        losses = F.cross_entropy(task.model.table(previous), targets, reduction="none")
        before = table[previous].softmax(1)[torch.arange(len(targets)), targets]
        total = 0.0
        for i in range(len(indices)):
            kept = [n for n in range(len(rows)) if rows[n] == i and 1 / float(before[n]) <= threshold]
            if kept:
                total = total + losses[kept].mean()
        return total / len(indices)

    return loss


@pytest.mark.parametrize("threshold", [6.0, 15.0])
def test_stm_on_tokens(threshold: float) -> None:
    task = texts()
    batch = task.sources[0].batch(torch.arange(23))
    before = task.model.table.weight[batch.inputs].softmax(1)[torch.arange(len(batch.targets)), batch.targets]
    kept = 1 / before <= threshold
    left = torch.zeros(23).index_add(0, batch.sample_of_unit, kept.float())
    assert 0 < kept.sum() < len(kept) and (left == 0).any(), "some samples are to lose all their tokens"
    ours = tuned(texts(), STM(threshold=threshold), train=WIDE)
    assert_close(ours, naive(task, stm_written_out(task, threshold), train=WIDE))


def test_stm_masks_whole_images() -> None:
    task = task_of(clip(), TASKS[:1])
    step = step_of(task)
    before = step.forward.logits.softmax(1)[torch.arange(10), step.batch.targets]
    threshold = float((1 / before).median())
    found = STM(threshold=threshold).unit_weights(step, {})
    assert found.tolist() == [float(1 / p <= threshold) for p in before] and 0 < found.sum() < 10


def test_stm_that_keeps_everything_is_plain_fine_tuning_to_the_bit() -> None:
    ours, plain = tuned(texts(), STM(threshold=1e9), train=WIDE), tuned(texts(), train=WIDE)
    assert all(torch.equal(ours[name], tensor) for name, tensor in plain.items())


def test_stm_leaves_replayed_samples_alone() -> None:
    model = clip()
    chain = Chain([STM(threshold=1.0001), ExperienceReplay(memory=6)])
    chain.each("end_task", task_of(model, TASKS[:1]))
    task = task_of(model, TASKS[1:2], past=TASKS[:1])
    (extra,) = chain.extra_batches(task, 0)
    step = Step(task, extra.batch, task.model(extra.batch), 0)
    assert chain.factor("unit_weights", step) is None


@pytest.mark.parametrize("method", [STM(threshold=2.0), TALR(), DFT(), ASFT()], ids=lambda m: m.name)
def test_resumes_to_the_same_bits(method: Mitigation) -> None:
    resumed(lambda: task_of(clip(), TASKS[:1]), method)


def test_asft_holds_near_the_base_in_the_direction_it_names() -> None:
    def world():
        return task_of(clip(), TASKS[:1])

    one = tuned(world(), ASFT(strength=0.0))
    assert all(torch.equal(one[name], tensor) for name, tensor in tuned(world(), DFT()).items())
    forward, reverse = (tuned(world(), ASFT(direction=way)) for way in ("forward", "reverse"))
    assert any(not torch.equal(forward[name], reverse[name]) for name in forward)


@pytest.mark.parametrize("method", [STM, TALR, DFT, ASFT])
def test_what_replaces_the_cross_entropy_is_refused(method: type[Mitigation]) -> None:
    with pytest.raises(UserError, match="cannot be combined with 'flyp'"):
        Chain([method(), FLYP()])


def test_dft_is_part_of_asft() -> None:
    with pytest.raises(UserError, match="weighted by p_θ already"):
        Chain([ASFT(), DFT()])


@pytest.mark.parametrize(
    ("method", "fields"),
    [(STM, {"threshold": 1.0}), (TALR, {"temperature": 0}), (TALR, {"floor": 1.1}), (DFT, {"exponent": -1})],
)
def test_bad_values_are_refused(method: type[Mitigation], fields: dict) -> None:
    with pytest.raises(ValidationError):
        method(**fields)
