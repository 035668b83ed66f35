"""EWC and LwF, Avalanche's and ours, on the same stream: what differs, in numbers.

    python experiments/avalanche/compare.py            # a minute on one core

A small network learns six of scikit-learn's handwritten digits, then the same digits on their side. Both
sides train in Avalanche's `Naive` with the same batches, ours as a plugin, so nothing but the method differs.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cl_forget.avalanche import as_plugin
from cl_forget.config.run import parse_mitigation

CLASSES, PER_CLASS, EPOCHS, SEED = 6, 60, 8, 0


def digits(per_class: int, start: int = 0) -> tuple[Tensor, Tensor]:
    """(samples, 1, 8, 8) in [0, 1], sorted by class, and labels."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    chosen = np.concatenate(
        [np.flatnonzero(bunch.target == c)[start : start + per_class] for c in range(CLASSES)]
    )
    images = torch.tensor(bunch.images[chosen] / 16, dtype=torch.float64)
    return images[:, None], torch.tensor(bunch.target[chosen])


def benchmark(per_class: int = PER_CLASS, mixed: bool = False) -> Any:
    """Digits upright, then on their side; the training data sorted by class, or mixed."""
    from avalanche.benchmarks import benchmark_from_datasets, with_classes_timeline, with_task_labels
    from avalanche.benchmarks.utils.classification_dataset import (
        _make_taskaware_tensor_classification_dataset,
    )

    def domain(images: Tensor, labels: Tensor, turns: int) -> Any:
        return _make_taskaware_tensor_classification_dataset(
            torch.rot90(images, turns, (2, 3)), labels, targets=labels.tolist(), task_labels=0
        )

    train, test = digits(per_class), digits(40, start=PER_CLASS)
    if mixed:
        order = torch.randperm(len(train[1]), generator=torch.Generator().manual_seed(SEED))
        train = train[0][order], train[1][order]
    streams = {
        "train": [domain(*train, turns) for turns in range(2)],
        "test": [domain(*test, turns) for turns in range(2)],
    }
    return with_task_labels(with_classes_timeline(benchmark_from_datasets(**streams)))


def network(dropout: float = 0.0) -> nn.Module:
    """A perceptron with one hidden layer."""
    torch.manual_seed(SEED)
    layers = [nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Dropout(dropout), nn.Linear(32, CLASSES)]
    return nn.Sequential(*layers).double()


def train(
    plugins: Sequence[Any], bench: Any, batch_size: int, dropout: float = 0.0, epochs: int = EPOCHS
) -> nn.Module:
    """Both experiences in order, with batches that depend on the seed only."""
    from avalanche.training import Naive

    model = network(dropout)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="No loggers specified")
        strategy = Naive(
            model=model,
            optimizer=torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.0),
            train_mb_size=batch_size,
            train_epochs=epochs,
            plugins=list(plugins),
            evaluator=None,
        )
    for number, experience in enumerate(bench.streams["train"]):
        torch.manual_seed(SEED + number)  # decides the order of the data
        strategy.train(experience, eval_streams=[])
    return model


def accuracies(model: nn.Module, bench: Any) -> list[float]:
    """Test accuracy on each experience."""
    model.eval()
    scores = []
    for experience in bench.streams["test"]:
        x, y, _ = experience.dataset.collate_fn(
            [experience.dataset[i] for i in range(len(experience.dataset))]
        )
        scores.append(float((model(x).argmax(1) == y).double().mean()))
    return scores


def distance(left: nn.Module, right: nn.Module) -> float:
    """Largest difference of any weight."""
    pairs = zip(left.parameters(), right.parameters(), strict=True)
    return max(float((a - b).detach().abs().max()) for a, b in pairs)


def fishers(model: nn.Module, experience: Any, batch_size: int) -> tuple[Tensor, Tensor]:
    """Theirs at this batch size and ours, as vectors over all parameters."""
    from avalanche.training.plugins import EWCPlugin

    from cl_forget.avalanche.model import AvalancheSamples, ModuleModel, named_experience
    from cl_forget.training.per_sample import PerSample, fisher

    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    theirs = EWCPlugin(1.0).compute_importances(
        model, nn.CrossEntropyLoss(), optimizer, experience.dataset, torch.device("cpu"), batch_size
    )
    ours_model = ModuleModel(model)
    named = named_experience(1, torch.tensor(list(experience.dataset.targets)), CLASSES)
    source = AvalancheSamples(experience.dataset, named, "train", torch.device("cpu"))
    ours = fisher(PerSample(ours_model, [source], [name for name, _ in ours_model.named_parameters()]))
    flat = torch.cat([value.data.flatten() for value in theirs.values()])
    return flat, torch.cat([value.flatten() for value in ours.values()])


def shuffled(experience: Any) -> Any:
    """The same data in another order."""
    torch.manual_seed(SEED)
    from avalanche.benchmarks import DatasetExperience

    return DatasetExperience(
        dataset=experience.dataset.subset(torch.randperm(len(experience.dataset)).tolist())
    )


def main() -> None:
    """Print the tables of docs/avalanche.md."""
    from avalanche.training.plugins import EWCPlugin, LwFPlugin

    bench = benchmark()
    first = next(iter(bench.streams["train"]))

    print("EWC: sum of the importances after 1 epoch on the first task, theirs / ours")
    print("batch size   data sorted by class   data shuffled")
    model = train([], bench, 16, epochs=1)
    for batch_size in (1, 4, 16, 64):
        sums = []
        for experience in (first, shuffled(first)):
            theirs, ours = fishers(model, experience, batch_size)
            sums.append(float(theirs.sum() / ours.sum()))
        print(f"{batch_size:10d}   {sums[0]:20.3f}   {sums[1]:13.3f}")

    bench = benchmark(mixed=True)
    print("\nEWC, λ = 3000, data mixed: accuracy on task 1 / task 2 after both")
    print("batch size     theirs          ours          full fine-tuning")
    for batch_size in (8, 64):
        runs = [
            [EWCPlugin(3000.0)],
            [as_plugin(parse_mitigation({"ewc": {"strength": 3000.0, "samples": None}}))],
            [],
        ]
        scores = [accuracies(train(plugins, bench, batch_size), bench) for plugins in runs]
        print(f"{batch_size:10d}   " + "   ".join(f"{a:6.3f}/{b:6.3f}" for a, b in scores))

    print("\nLwF, α = λ = 1, T = 2: largest difference of any weight, ours - theirs")
    for dropout in (0.0, 0.3):
        theirs_model = train([LwFPlugin(1.0, 2.0)], bench, 16, dropout)
        ours_model = train([as_plugin(parse_mitigation({"lwf": 1.0}))], bench, 16, dropout)
        (a, b), (c, d) = accuracies(theirs_model, bench), accuracies(ours_model, bench)
        print(
            f"dropout {dropout}: {distance(theirs_model, ours_model):.1e}   "
            f"theirs {a:.3f}/{b:.3f}   ours {c:.3f}/{d:.3f}"
        )


if __name__ == "__main__":
    main()
