"""What whoever reads a result has to know of how it came about, as sentences."""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence

from cl_forget.config.run import Run
from cl_forget.evaluation.batch_norm import statistics
from cl_forget.ground.records import Row
from cl_forget.mitigations.chain import Chain
from cl_forget.mitigations.claim import Claim
from cl_forget.models.base import FoundationModel
from cl_forget.streams.base import Experience
from cl_forget.streams.text import TextData

logger = logging.getLogger("cl_forget")

NEAR_CHANCE = 0.1
"""Below this share of the way from chance to perfect, class names say next to nothing."""
PROBED = (
    "This model reads no class names: the line of the pre-trained model has each task's accuracy by a linear probe "
    "on its features, and heads start from linear probes."
)


@functools.cache
def say_once(line: str) -> None:
    """Log a line, once in a process: the runs of an experiment share most of what there is to say."""
    logger.warning(line)


def notes_on(
    run: Run, chain: Chain, model: FoundationModel, tasks: Sequence[Experience], pretrained: Row
) -> list[str]:
    """All notes on one run.

    Args:
        run: how it is trained.
        chain: its mitigations.
        model: the pre-trained model.
        tasks: the experiences of its stream.
        pretrained: row 0, of which validation data are read.
    """
    of_methods = [remark for m in chain for remark in m.remarks(model)]
    if not model.zero_shot and any(model.head_parameters(task) for task in tasks):
        of_methods.insert(0, PROBED)
    return [
        *_heads(run, chain, model, tasks, pretrained),
        *_statistics(run, chain, model),
        *_unread(run, chain, model, tasks),
        *of_methods,
        *chain.findings(),
    ]


def _heads(
    run: Run, chain: Chain, model: FoundationModel, tasks: Sequence[Experience], pretrained: Row
) -> list[str]:
    """Which zero-shot heads start near chance."""
    from_names = run.train.head != "probe" and model.zero_shot
    if not from_names or any(Claim.HEAD in m.claims for m in chain):
        return []
    found = []
    for task in tasks:
        accuracy = pretrained.tasks[task.name].validation.accuracy
        classes = len(task.labels.classes) if task.labels is not None else 0
        if accuracy is not None and classes > 1 and (classes * accuracy - 1) / (classes - 1) < NEAR_CHANCE:
            found.append(f"{task.name} ({accuracy:.0%} of {classes} classes, chance {1 / classes:.0%})")
    if not found:
        return []
    return [
        f"Zero-shot heads start near chance on {', '.join(found)}: their class names tell this model little; "
        "train.head: probe starts heads from a linear probe."
    ]


def _statistics(run: Run, chain: Chain, model: FoundationModel) -> list[str]:
    """What becomes of BatchNorm's running statistics, where the model has any."""
    if not statistics(model):
        return []
    if run.train.batch_norm == "frozen":
        renewing = [m.name for m in chain if m.renews_statistics]
        if not renewing:
            return []
        return [
            f"{renewing[0]} replaces the BatchNorm statistics of the pre-trained model, which train.batch_norm: "
            "frozen keeps, by those of the last task; leave it out, or set train.batch_norm: update."
        ]
    edits = chain.using("edit_weights")
    if any(m.renews_statistics for m in edits):
        return []
    cure = "add batch_norm to the method, or set train.batch_norm: frozen."
    found = []
    if averaging := ", ".join(m.name for m in chain if m.averages):
        found.append(
            "BatchNorm's running statistics were updated in training and are those of the last step, not of the "
            f"weights that {averaging} averaged; {cure}"
        )
    if mixing := ", ".join(m.name for m in edits):
        found.append(
            f"BatchNorm's running statistics were updated in training and mixed by {mixing} like weights, not "
            f"re-estimated; {cure}"
        )
    return found


def _unread(run: Run, chain: Chain, model: FoundationModel, tasks: Sequence[Experience]) -> list[str]:
    """Settings that say something else than what this run does."""
    found = []
    texts = any(isinstance(data, TextData) for task in tasks for data in task.splits().values())
    options = [f"text.{name}" for name in run.text.model_dump(exclude_defaults=True)]
    if options and not texts:
        verb = "has" if len(options) == 1 else "have"
        found.append(f"{', '.join(options)} {verb} no effect: no task of this run is text.")
    owners = [m.name for m in chain if Claim.HEAD in m.claims]
    if run.train.head == "zero-shot" and owners:
        found.append(f"train.head: zero-shot is not where heads start here: {owners[0]} sets them.")
    if run.train.batch_norm == "update" and not statistics(model):
        found.append("train.batch_norm: update has no effect: the model has no BatchNorm.")
    return found
