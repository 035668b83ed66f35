"""Avalanche benchmarks as streams: class-incremental, domain-incremental and task-aware, from local data."""

from __future__ import annotations

from typing import Any

import local_benchmarks
import numpy as np
import pytest
import torch
from local_benchmarks import NAMES, dataset, digit_tensors

from cl_forget.avalanche.benchmarks import from_avalanche
from cl_forget.ground.errors import UserError
from cl_forget.run.simulate import simulate
from cl_forget.streams import load_stream


def test_class_incremental_shares_one_head() -> None:
    stream = from_avalanche(local_benchmarks.class_incremental(), NAMES[:6])
    assert [e.name for e in stream] == ["avalanche-1", "avalanche-2", "avalanche-3"]
    assert {e.labels.head for e in stream} == {"avalanche"}
    assert stream[0].labels.classes == tuple(NAMES[:6])
    assert [sorted(set(e.test.labels.tolist())) for e in stream] == [[0, 1], [2, 3], [4, 5]]
    assert [len(e.test) for e in stream] == [20, 20, 20]
    assert [(len(e.train), len(e.validation)) for e in stream] == [(36, 4)] * 3


def test_pixels_survive_the_way() -> None:
    stream = from_avalanche(local_benchmarks.class_incremental(), NAMES[:6])
    images, _ = digit_tensors(10, start=100)
    seen = stream[1].test.array
    wanted = (images[20:40] * 255).round().to(torch.uint8).expand(-1, 3, -1, -1).numpy()
    assert seen.shape == (20, 3, 8, 8)
    assert {one.tobytes() for one in seen} == {np.ascontiguousarray(one).tobytes() for one in wanted}


def test_train_and_validation_are_disjoint_and_fixed() -> None:
    first, again = (from_avalanche(local_benchmarks.class_incremental())[0] for _ in range(2))
    assert first.train.fingerprint == again.train.fingerprint
    assert np.array_equal(first.validation.array, again.validation.array)
    assert np.bincount(first.validation.labels).tolist() == [2, 2]  # stratified
    train = {one.tobytes() for one in first.train.array}
    assert not train & {one.tobytes() for one in first.validation.array}


def test_a_validation_stream_is_used_as_it_is() -> None:
    stream = from_avalanche(local_benchmarks.class_incremental(validation=True))
    assert [(len(e.train), len(e.validation)) for e in stream] == [(30, 10)] * 3


def test_domain_incremental_keeps_all_classes_in_every_experience() -> None:
    stream = from_avalanche(local_benchmarks.domain_incremental(), NAMES[:6], name="turned")
    assert {e.labels.head for e in stream} == {"turned"}
    assert all(sorted(set(e.train.labels.tolist())) == [0, 1, 2, 3, 4, 5] for e in stream)
    assert np.array_equal(np.rot90(stream[0].test.array, 1, (2, 3)), stream[1].test.array)


def test_one_test_experience_serves_every_task() -> None:
    from avalanche.benchmarks import new_instances_benchmark

    made = new_instances_benchmark(
        dataset(*digit_tensors(20)), dataset(*digit_tensors(5, 100)), num_experiences=2, seed=0
    )
    stream = from_avalanche(made)
    assert [len(e.test) for e in stream] == [30, 30]
    assert stream[0].test.fingerprint == stream[1].test.fingerprint


def test_task_labels_give_a_head_each() -> None:
    stream = from_avalanche(local_benchmarks.task_aware(), NAMES[:6])
    assert [e.labels.head for e in stream] == [f"avalanche-task-{t}" for t in range(3)]
    assert [e.labels.classes for e in stream] == [("zero", "one"), ("two", "three"), ("four", "five")]
    assert all(set(e.test.labels.tolist()) == {0, 1} for e in stream)
    named = from_avalanche(local_benchmarks.task_aware(), [["a", "b"], ["c", "d"], ["e", "f"]])
    assert named[2].labels.classes == ("e", "f")


def test_the_deprecated_generators_work_too() -> None:
    from avalanche.benchmarks import nc_benchmark
    from torch.utils.data import TensorDataset

    train, test = TensorDataset(*digit_tensors(10)), TensorDataset(*digit_tensors(5, 100))
    for one, (_, labels) in ((train, digit_tensors(10)), (test, digit_tensors(5, 100))):
        one.targets = labels.tolist()
    shared = from_avalanche(nc_benchmark(train, test, 3, task_labels=False, seed=1), NAMES[:6])
    assert {e.labels.head for e in shared} == {"avalanche"}
    apart = from_avalanche(nc_benchmark(train, test, 3, task_labels=True, seed=1))
    assert len({e.labels.head for e in apart}) == 3


def test_the_eval_view_is_read_not_the_augmentation() -> None:
    from avalanche.benchmarks import benchmark_from_datasets

    images, labels = digit_tensors(10)
    groups = {"train": (lambda x: torch.rand_like(x), None), "eval": (lambda x: 1 - x, None)}
    made = benchmark_from_datasets(
        train=[dataset(images, labels, groups)], test=[dataset(images, labels, groups)]
    )
    inverted = from_avalanche(made)[0].test.array
    plain = from_avalanche(made, raw=True)[0].test.array
    assert np.abs(255 - inverted.astype(int) - plain).max() <= 1  # rounding of halves


def test_pictures_of_several_sizes_stay_where_they_are() -> None:
    from avalanche.benchmarks import benchmark_from_datasets
    from PIL import Image

    class Pictures(torch.utils.data.Dataset):
        targets = (0, 1) * 10

        def __len__(self) -> int:
            return 20

        def __getitem__(self, i: int) -> tuple[Image.Image, int]:
            return Image.new("L", (8 + i % 3, 8), color=10 * i), self.targets[i]

    from avalanche.benchmarks.utils import as_classification_dataset

    data = [as_classification_dataset(Pictures())]
    experience = from_avalanche(benchmark_from_datasets(train=data, test=data))[0]
    assert experience.test.array is None
    assert experience.test.image(4).getpixel((0, 0)) == (40, 40, 40)


def test_an_experiment_names_a_benchmark(tiny_run: Any) -> None:
    spec = {
        "avalanche": {
            "benchmark": "local_benchmarks:class_incremental",
            "options": {"per_class": 10},
            "classes": NAMES[:6],
            "templates": ["a {}."],
            "name": "split-digits",
        }
    }
    result = simulate(tiny_run(stream=spec, probes=[], train={"epochs": 1, "batch_size": 8, "lr": 1e-3}))
    assert result.tasks == ["split-digits-1", "split-digits-2", "split-digits-3"]
    assert len(result.rows) == 4


def test_a_random_class_order_is_the_same_every_time() -> None:
    spec = {"avalanche": {"benchmark": "local_benchmarks:randomly_ordered"}}
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = load_stream(spec)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    again = load_stream({"avalanche": {"benchmark": "local_benchmarks:randomly_ordered", "options": {}}})
    assert [e.train.fingerprint for e in first] == [e.train.fingerprint for e in again]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"benchmark": "SplitMNIST"}, "names no function"),
        ({"benchmark": "local_benchmarks:nothing"}, "cannot be loaded"),
        ({"benchmark": "local_benchmarks:digit_tensors"}, "failed: TypeError"),
        (
            {"benchmark": "local_benchmarks:digit_tensors", "options": {"per_class": 2}},
            "not an Avalanche benchmark",
        ),
        ({"benchmark": "local_benchmarks:class_incremental", "classes": ["a", "b"]}, "6 classes"),
        ({"benchmark": "local_benchmarks:task_aware", "classes": [["a", "b"]]}, "one list per task label"),
        ({"benchmark": "local_benchmarks:class_incremental", "validation": 1.5}, "between 0 and 1"),
    ],
)
def test_mistakes_are_answered_in_one_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load_stream({"avalanche": options})
    assert "\n" not in str(caught.value)


def test_normalised_images_are_refused() -> None:
    from avalanche.benchmarks import benchmark_from_datasets

    images, labels = digit_tensors(5)
    data = [dataset((images - 0.5) / 0.5, labels)]
    with pytest.raises(UserError, match="normalised"):
        from_avalanche(benchmark_from_datasets(train=data, test=data))


def test_streams_of_unequal_length_are_refused() -> None:
    from avalanche.benchmarks import benchmark_from_datasets

    data = dataset(*digit_tensors(5))
    with pytest.raises(UserError, match="test stream has 2 experiences and the train stream 3"):
        from_avalanche(benchmark_from_datasets(train=[data] * 3, test=[data] * 2))
    with pytest.raises(UserError, match="has no test stream"):
        from_avalanche(benchmark_from_datasets(train=[data]))
