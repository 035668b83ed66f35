"""Infinite dSprites, drawn by the package itself."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from cl_forget.ground.errors import UserError
from cl_forget.streams import load_stream

SMALL = {"tasks": 2, "shapes_per_task": 2, "resolution": 2, "size": 32}


def test_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "idsprites", None)
    with pytest.raises(UserError, match="pip install idsprites"):
        load_stream({"idsprites": {"tasks": 1, "seed": 99}})


def test_each_task_adds_shapes_that_the_others_do_not_have() -> None:
    pytest.importorskip(
        "idsprites", reason="`pip install idsprites` brings the benchmark", exc_type=ImportError
    )
    stream = load_stream({"idsprites": SMALL})
    assert [task.name for task in stream] == ["idsprites-1", "idsprites-2"]
    assert len({task.labels for task in stream}) == 1
    for number, task in enumerate(stream):
        splits = task.splits()
        assert {int(label) for data in splits.values() for label in data.labels} == {
            2 * number,
            2 * number + 1,
        }
        pictures = [data.array[i].tobytes() for data in splits.values() for i in range(len(data))]
        assert len(pictures) == 2 * 2**4 and len(set(pictures)) == len(pictures)
        assert [len(data) for data in splits.values()] == [23, 3, 6]


def test_the_package_draws_the_same_world_again_and_another_by_another_seed() -> None:
    idsprites = pytest.importorskip("idsprites", reason="`pip install idsprites`", exc_type=ImportError)
    from cl_forget.streams.idsprites import idsprites as made

    state = np.random.get_state()[1].copy()
    first, again, other = (made(**SMALL, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(np.random.get_state()[1], state)
    assert [t.fingerprint for t in first] == [t.fingerprint for t in again]
    assert first[0].train.fingerprint != other[0].train.fingerprint
    # The package's own generator, from the same seed, draws the same first shape.
    np.random.seed(0)
    shape = idsprites.InfiniteDSprites(img_size=32).generate_shape()
    drawn = [image for image, _ in idsprites.InfiniteDSpritesMap(
        img_size=32, shapes=[shape], scale_range=np.linspace(0.5, 1, 2),
        orientation_range=np.linspace(0, 2 * np.pi * 2 / 3, 2), position_x_range=np.linspace(0, 1, 2),
        position_y_range=np.linspace(0, 1, 2),
    )]  # fmt: skip
    wanted = {np.rint(image * 255).astype(np.uint8).tobytes() for image in drawn}
    assert wanted == {
        picture.tobytes() for data in first[0].splits().values() for picture in data.array[data.labels == 0]
    }
    np.random.set_state(("MT19937", state, *np.random.get_state()[2:]))
