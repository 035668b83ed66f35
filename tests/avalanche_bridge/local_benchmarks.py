"""Avalanche benchmarks from scikit-learn's digits: nothing is downloaded."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def digit_tensors(per_class: int, start: int = 0, classes: int = 6) -> tuple[Tensor, Tensor]:
    """(samples, 1, 8, 8) in [0, 1] and labels: `per_class` of each of the first classes."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    chosen = np.concatenate(
        [np.flatnonzero(bunch.target == c)[start : start + per_class] for c in range(classes)]
    )
    images = torch.tensor(bunch.images[chosen] / 16, dtype=torch.float32)
    return images[:, None], torch.tensor(bunch.target[chosen])


def dataset(images: Tensor, labels: Tensor, transform_groups: Any = None, task: int | None = None) -> Any:
    """An Avalanche data set; with `task`, a task-aware one."""
    from avalanche.benchmarks.utils import as_classification_dataset, as_taskaware_classification_dataset
    from avalanche.benchmarks.utils.classification_dataset import (
        _make_taskaware_tensor_classification_dataset,
    )
    from torch.utils.data import TensorDataset

    if task is not None:
        made = _make_taskaware_tensor_classification_dataset(
            images, labels, targets=labels.tolist(), task_labels=task, transform_groups=transform_groups
        )
        return as_taskaware_classification_dataset(made)
    base = TensorDataset(images, labels)
    base.targets = labels.tolist()  # type: ignore[attr-defined]
    return as_classification_dataset(base, transform_groups=transform_groups)


def class_incremental(per_class: int = 20, validation: bool = False) -> Any:
    """Three experiences of two digits each, one label space."""
    from avalanche.benchmarks import benchmark_with_validation_stream, class_incremental_benchmark

    data = {"train": dataset(*digit_tensors(per_class)), "test": dataset(*digit_tensors(10, start=100))}
    made = class_incremental_benchmark(data, num_experiences=3, class_order=[0, 1, 2, 3, 4, 5])
    if validation:
        return benchmark_with_validation_stream(made, validation_size=0.25, shuffle=True, seed=1)
    return made


def domain_incremental(per_class: int = 12) -> Any:
    """The same six digits upright, on their side, and upside down."""
    from avalanche.benchmarks import benchmark_from_datasets

    train, test = digit_tensors(per_class), digit_tensors(6, start=100)
    turned = {
        split: [dataset(torch.rot90(images, k, (2, 3)), labels) for k in range(3)]
        for split, (images, labels) in {"train": train, "test": test}.items()
    }
    return benchmark_from_datasets(**turned)


def task_aware(per_class: int = 20) -> Any:
    """The class-incremental benchmark with a task label per experience."""
    from avalanche.benchmarks import task_incremental_benchmark, with_classes_timeline

    made = task_incremental_benchmark(class_incremental(per_class), reset_task_labels=True)
    return with_classes_timeline(made)


def randomly_ordered() -> Any:
    """A benchmark that draws its class order from the global random state."""
    from avalanche.benchmarks import class_incremental_benchmark

    data = {"train": dataset(*digit_tensors(10)), "test": dataset(*digit_tensors(5, start=100))}
    return class_incremental_benchmark(data, num_experiences=2)
