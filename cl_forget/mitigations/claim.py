"""What only one method of a chain may decide, and what follows for the others."""

from __future__ import annotations

from enum import Enum


class Claim(Enum):
    """A decision that two methods of one chain cannot both take; the value says it in words.

    What follows from a claim for methods that do not make it stands in `compatibility.CONSEQUENCES`.
    """

    TASK_LOSS = "task loss"
    """Replaces the cross-entropy of the task's own batch (`objective`)."""

    TRAINING_DATA = "data that the steps are taken on"
    """Trains on other samples than the task's own (`training_data`)."""

    HEAD = "head initialisation"
    """Sets the heads before or after the steps."""

    ADAPTER = "adapter"
    """Trains adapters in the place of the weights, and merges them after the task."""

    FROZEN_TRUNK = "freezing of the trunk"
    """Trains nothing but heads."""

    TRAINING_LOOP = "training loop"
    """Trains the stage by a loop of its own (`train_task`)."""

    GRADIENT_POINT = "point of the gradient"
    """Takes the step's gradient at other weights than those of the step."""

    AVERAGE = "average with the pre-trained weights"
    """Averages the tuned weights with those that training started from."""

    DEPTH_SCALE = "scale of each depth"
    """Scales what was learned block by block."""

    STAGE_WEIGHTS = "weights made from the stages' checkpoints"
    """Makes the weights anew from those after each stage."""
