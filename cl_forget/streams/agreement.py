"""A suite without right answers: how often a classifier's own answers stay what they were before fine-tuning."""

from __future__ import annotations

from typing import Any

from cl_forget.ground.errors import UserError
from cl_forget.streams import load_suite
from cl_forget.streams.base import OWN_ANSWERS, Data, Experience, ImageData, LabelSpace


def agreement(of: str | dict[str, dict[str, Any] | None], name: str | None = None) -> Experience:
    """Share of pictures to which the model's own head gives the class that it gave before any fine-tuning.

    For image classifiers that were pre-trained on other classes than the pictures at hand: no label is read. The
    pre-trained model has 100 %, and KL to base is taken over all of its classes.

    Args:
        of: a suite or a stream of one task, whose validation and test pictures are taken.
        name: what the suite is called; by default that of the pictures with `-agreement` behind it.

    Raises:
        UserError: as `load_suite`, or there are texts instead of pictures.
    """
    suite = load_suite(of)
    return Experience(
        name or f"{suite.name}-agreement",
        LabelSpace(OWN_ANSWERS, ("as before",)),
        train=None,
        validation=_unlabelled(suite.validation, suite.name),
        test=_unlabelled(suite.test, suite.name),
        metric="agreement with the pre-trained model",
        notes=suite.notes,
    )


def _unlabelled(data: Data, name: str) -> ImageData:
    import numpy as np

    if not isinstance(data, ImageData):
        raise UserError(
            f"'{name}' holds no pictures, and agreement is measured on pictures; name another suite."
        )
    return ImageData(
        np.zeros(len(data), dtype=np.int64),
        array=data.array,
        opener=data.opener,
        fingerprint=f"{data.fingerprint}-unlabelled",
        sizes=data.sizes,
        encoded=data.encoded,
    )
