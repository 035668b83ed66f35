"""Sequences of image sets: MTIL, X-TAIL, and the eight tasks of task arithmetic one after another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from cl_forget.ground.errors import UserError
from cl_forget.streams._choose import capped
from cl_forget.streams.base import Data, Experience, ImageData, LabelSpace, pooled
from cl_forget.streams.protocols.image_sets import CARS, EMBEDDED, SETS, ImageSet

MTIL = {
    1: (
        *("aircraft", "caltech101", "cifar100", "dtd", "eurosat", "flowers", "food", "mnist", "oxford-pet"),
        *("stanford-cars", "sun397"),
    ),
    2: (
        *(
            "stanford-cars",
            "food",
            "mnist",
            "oxford-pet",
            "flowers",
            "sun397",
            "aircraft",
            "caltech101",
            "dtd",
        ),
        *("eurosat", "cifar100"),
    ),
}
X_TAIL = {
    1: tuple(name for name in MTIL[1] if name != "cifar100"),
    2: (
        *(
            "stanford-cars",
            "aircraft",
            "oxford-pet",
            "food",
            "sun397",
            "mnist",
            "flowers",
            "dtd",
            "caltech101",
        ),
        "eurosat",
    ),
}
SPELT = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TA8 = ("stanford-cars", "mnist", "eurosat", "svhn", "resisc45", "sun397", "dtd", "gtsrb")
TA8_SETS = SETS | {
    "stanford-cars": replace(SETS["stanford-cars"], templates=CARS),
    "mnist": replace(SETS["mnist"], readable={f"{n} - {word}": str(n) for n, word in enumerate(SPELT)}),
}
SHORT = {
    "aircraft": "a photo of a {}, a type of aircraft.",
    "dtd": "{} texture.",
    "eurosat": "a centered satellite photo of {}.",
    "flowers": "a photo of a {}, a type of flower.",
    "food": "a photo of {}, a type of food.",
    "mnist": 'a photo of the number: "{}".',
    "oxford-pet": "a photo of a {}, a type of pet.",
}
"""X-TAIL's one prompt for each set, CoOp's (Zhou et al. 2109.01134); "a photo of a {}." for the others."""


def mtil(
    order: Literal[1, 2] = 1, root: Path = Path("data"), download: bool = False, limit: int | None = None
) -> list[Experience]:
    """MTIL (Zheng et al. 2303.06628): eleven image sets in sequence, reported by Transfer, Avg and Last.

    Order 1: aircraft, caltech101, cifar100, dtd, eurosat, flowers, food, mnist, oxford-pet, stanford-cars, sun397.
    Order 2: stanford-cars, food, mnist, oxford-pet, flowers, sun397, aircraft, caltech101, dtd, eurosat, cifar100.
    The paper tunes CLIP ViT-B/16: `train: {steps: 1000, batch_size: 64, label_smoothing: 0.2}`. Each task has its own
    classes and prompts, and a test picture is told among those of its task.

    Each set is read by torchvision from its files below `root`, else from the folder `<root>/<name>`: one sub-folder
    per class, in `train` and `test` where it has splits, or what `datasets` saved. torchvision knows no splits of
    caltech101, eurosat and sun397: a fifth of each class, the same pictures every time, is for testing. Validation
    data are set aside from train where a set has none.

    `root: embedded` runs eleven small embedded tasks in the same shape: flags, letters, cyrillic, braille, colours,
    greek, counting, digits, arrows, dominoes, cards.

    Args:
        order: of the tasks, 1 or 2.
        root: the folder that the sets lie in; "embedded" for the stand-ins.
        download: fetch the files that torchvision can fetch.
        limit: at most this many images in each split, balanced over the classes; 40 of the stand-ins by default.

    Raises:
        UserError: a set is not there; the message says which, where to put it and in which form.
    """
    return _sequence("stream 'mtil'", MTIL[order], SETS, root, download, limit)


def x_tail(
    order: Literal[1, 2] = 1,
    shots: int | None = 16,
    root: Path = Path("data"),
    download: bool = False,
    limit: int | None = None,
) -> list[Experience]:
    """X-TAIL (Xu et al. 2406.18868): ten sets of MTIL without task identities, told among the classes of all ten.

    Order 1 is MTIL's without cifar100. Order 2: stanford-cars, aircraft, oxford-pet, food, sun397, mnist, flowers,
    dtd, caltech101, eurosat. All tasks share one head over their 1,100 classes, each asked for by the prompt of its
    own set; what two sets call alike stays two classes. Reported are Transfer, Avg and Last, as of MTIL. The paper
    tunes CLIP ViT-B/16 on 16 pictures of each class.

    Where the sets are read from is as of `mtil`. `root: embedded` runs ten small embedded tasks in the same shape.

    Args:
        order: of the tasks, 1 or 2.
        shots: at most this many training pictures of each class; null for all of them.
        root: the folder that the sets lie in; "embedded" for the stand-ins.
        download: fetch the files that torchvision can fetch.
        limit: at most this many images in each split, balanced over the classes; 40 of the stand-ins by default.

    Raises:
        UserError: a set is not there; the message says which, where to put it and in which form. Or no shots.
    """
    if shots is not None and shots < 1:
        raise UserError(
            f"stream 'x-tail', option 'shots' is how many pictures of a class, 1 or more, not {shots}."
        )
    short = {
        name: replace(own, templates=(SHORT.get(name, "a photo of a {}."),)) for name, own in SETS.items()
    }
    tasks = _sequence("stream 'x-tail'", X_TAIL[order], short, root, download, limit)
    if shots is not None:
        tasks = [_few(task, shots) for task in tasks]
    return _pooled("x-tail", tasks)


def ta8(root: Path = Path("data"), download: bool = False, limit: int | None = None) -> list[Experience]:
    """TA8: the eight image sets of task arithmetic (Ilharco et al. 2212.04089) in sequence, as MagMax runs them.

    stanford-cars, mnist, eurosat, svhn, resisc45, sun397, dtd, gtsrb; reported is the mean accuracy after the last.
    MagMax (Marczak et al. 2407.06322) tunes CLIP: `train: {steps: 2500, batch_size: 128, lr: 1.0e-5}`.

    Where the sets are read from is as of `mtil`; resisc45 is a folder `<root>/resisc45` of 45 sub-folders.
    `root: embedded` runs dominoes, digits, colours, dice, clocks, cards, braille and arrows.

    Args:
        root: the folder that the sets lie in; "embedded" for the stand-ins.
        download: fetch the files that torchvision can fetch.
        limit: at most this many images in each split, balanced over the classes; 40 of the stand-ins by default.

    Raises:
        UserError: a set is not there; the message says which, where to put it and in which form.
    """
    return _sequence("stream 'ta8'", TA8, TA8_SETS, root, download, limit)


def _sequence(
    what: str, names: Sequence[str], sets: dict[str, ImageSet], root: Path, download: bool, limit: int | None
) -> list[Experience]:
    tasks = [sets[name].load(what, root, download, limit) for name in names]
    if root != EMBEDDED:
        return tasks
    note = f"{what} runs on small embedded stand-ins: its published numbers are of other data"
    return [replace(tasks[0], notes=(*tasks[0].notes, note)), *tasks[1:]]


def _few(task: Experience, shots: int) -> Experience:
    """The task with few training pictures of each class."""
    assert task.train is not None
    return replace(task, train=task.train.subset(capped(task.train.labels, shots, task.name, "shots")))


def _pooled(head: str, tasks: Sequence[Experience]) -> list[Experience]:
    """The tasks under one head over the classes of all."""
    spaces = [task.labels for task in tasks if task.labels is not None]
    space, start, made = pooled(head, spaces), 0, []
    for task, own in zip(tasks, spaces, strict=True):
        made.append(_within(task, space, start))
        start += len(own.classes)
    return made


def _within(task: Experience, space: LabelSpace, start: int) -> Experience:
    """A task whose classes begin at `start` in a larger space."""

    def moved(data: Data | None) -> ImageData:
        assert isinstance(data, ImageData)
        return data.relabelled(start)

    return replace(
        task,
        labels=space,
        train=moved(task.train),
        validation=moved(task.validation),
        test=moved(task.test),
    )
