"""Class means against means taken by hand, whatever the order of the stream."""

from __future__ import annotations

import torch
from drive import clip, shared_head, task_of, weights
from torch import Tensor

from cl_forget.ground.records import Cost
from cl_forget.mitigations import Chain
from cl_forget.mitigations.class_means import ClassMeans
from cl_forget.models.base import FoundationModel
from cl_forget.streams.base import Experience
from cl_forget.training.loop import fine_tune
from cl_forget.training.options import Training

TRAIN = Training(epochs=1, batch_size=10, lr=1e-3)


def embeddings(model: FoundationModel, task: Experience) -> tuple[Tensor, Tensor]:
    samples = model.prepare(task.train, task, "train")
    with torch.no_grad():
        return model.encode(samples.batch(torch.arange(len(samples))).inputs)[0], samples.targets


def through(model: FoundationModel, chain: Chain, *stages: list[Experience]) -> dict[str, Tensor]:
    past: list[Experience] = []
    for stage in stages:
        fine_tune(task_of(model, stage, past), chain, TRAIN, Cost())
        past += stage
    return weights(model)


def test_rows_are_scaled_unit_means_and_answer_the_nearest_one() -> None:
    first, _ = shared_head()
    model = clip([first])
    before = weights(model)
    after = through(model, Chain([ClassMeans(scale=30.0)]), [first])
    x, y = embeddings(clip([first]), first)
    for k in (0, 1):
        mean = x[y == k].mean(0)
        torch.testing.assert_close(after["heads.shared.weight"][k], 30 * mean / mean.norm())
    assert torch.equal(after["heads.shared.bias"][:2], torch.zeros(2, dtype=torch.float64))
    for name, tensor in before.items():
        kept = slice(2, 4) if name.startswith("heads.shared") else slice(None)
        rows = (after[name], tensor) if tensor.ndim == 0 else (after[name][kept], tensor[kept])
        assert torch.equal(*rows), name
    model.eval()
    logits = model.head_logits(first, x)[:, :2]
    cosines = torch.nn.functional.cosine_similarity(
        x[:, None], torch.stack([x[y == k].mean(0) for k in (0, 1)]), dim=2
    )
    torch.testing.assert_close(logits, 30 * cosines)


def test_a_sequence_in_any_order_and_all_at_once_are_one_head() -> None:
    first, second = shared_head()
    found = [
        through(clip([first]), Chain([ClassMeans()]), *stages)
        for stages in ([[first], [second]], [[second], [first]], [[first, second]])
    ]
    for other in found[1:]:
        torch.testing.assert_close(other["heads.shared.weight"], found[0]["heads.shared.weight"])


def test_a_class_that_comes_back_is_averaged_over_all_its_samples() -> None:
    first, second = shared_head()
    again = Experience("again", first.labels, second.train, first.validation, first.test)
    again.train.labels[:] = first.train.labels[: len(again.train)]  # other pictures of the first two classes
    after = through(clip([first]), Chain([ClassMeans()]), [first], [again])
    parts = [embeddings(clip([first]), task) for task in (first, again)]
    x, y = (torch.cat(both) for both in zip(*parts, strict=True))
    for k in (0, 1):
        mean = x[y == k].mean(0)
        torch.testing.assert_close(after["heads.shared.weight"][k], 100 * mean / mean.norm())
