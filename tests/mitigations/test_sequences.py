"""Many methods together over a stream of three tasks, and joint training against its union."""

from __future__ import annotations

import torch
from drive import TASKS, TRAIN, assert_close, clip, task_of, tuned, weights
from torch.nn import functional as F

from cl_forget.mitigations.joint import Joint
from cl_forget.run.simulate import simulate

TOGETHER = ["lora", "sam", "mofo", "er", {"freeze": 1}, {"early_stopping": {"every": 2}}, "layer_decay"]


def test_three_tasks_end_to_end(tiny_run) -> None:
    train = {"epochs": 1, "batch_size": 8, "lr": 1e-3}
    result = simulate(tiny_run(mitigations=TOGETHER, train=train, suites=[], probes=[]))
    assert len(result.rows) == 4
    assert all(row.tasks["squares-1"].test.accuracy is not None for row in result.rows)
    forwards = result.rows[-1].cost.forward_samples
    assert forwards >= result.rows[-1].cost.samples_seen > 0


def test_joint_training_is_training_on_the_union() -> None:
    (stage,) = Joint().arrange([(task,) for task in TASKS[:2]])
    task = task_of(clip(), stage)
    model = clip()
    names = {n for e in stage for n in model.tunable(e)}
    parameters = [p.requires_grad_(True) for n, p in model.named_parameters() if n in names]
    optimizer = torch.optim.AdamW(parameters, lr=TRAIN.lr, weight_decay=0)
    seen = []
    for epoch in range(TRAIN.epochs):
        generator = task.generator("order", epoch)
        batches = [
            (source, part)
            for source in task.sources
            for part in torch.randperm(len(source), generator=generator).split(TRAIN.batch_size)
        ]
        for position in torch.randperm(len(batches), generator=generator).tolist():
            batch = batches[position][0].batch(batches[position][1])
            seen.extend((batch.samples.experience.name, i) for i in batch.indices.tolist())
            optimizer.zero_grad()
            F.cross_entropy(model(batch).logits, batch.targets).backward()
            for parameter in parameters:  # another task's head: its part of this gradient is zero
                parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            optimizer.step()
    assert_close(tuned(task_of(clip(), stage)), weights(model))
    assert len(set(seen)) == 48 and len(seen) == 2 * 48
