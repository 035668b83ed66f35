"""The settings of the two towers' pre-training runs."""

from dataclasses import dataclass, replace
from typing import Literal

Tower = Literal["vit", "rn"]


@dataclass(frozen=True)
class Recipe:
    """Settings of one pre-training run.

    Attributes:
        tower: the image tower: "vit" is open_clip's VisionTransformer, "rn" its ModifiedResNet.
        epochs: passes over the pre-training pictures.
        cool_down_epochs: the last epochs, in which the learning rate falls linearly to zero; it is constant
            before.
        whole_epochs: how many of the last epochs see whole pictures that are not mixed.
        teacher: whether the tower learns from the shipped emoji-clip-rn and takes over its text tower; else both
            towers are trained against learnt anchors.
        easy_epochs: the first epochs, over which the views grow from nearly plain to their full strength.
        patch_dropout: share of patches dropped in all but the whole epochs; of a transformer only.
        mix: share of the pictures that are blended with another or have a part of another pasted in.
        style: how often a view gets outlines or fewer colours, 0-1.
        batch_size: pictures per step.
        unit: pictures that one thread works on, and whose statistics BatchNorm shares.
        captions_per_step: captions per step, before captions are pulled to anchors.
        pulled_captions_per_step: captions per step from then on.
        pull_from_epoch: first epoch that pulls captions to the anchors, which have to settle before.
        pull: weight of that.
        imitation: with a teacher, the share of the loss that is the divergence from the teacher's answers; the
            rest is cross entropy.
        feature: with a teacher, the weight of the distance to its embedding.
        steps_per_epoch: 0 for all pictures, or an upper limit.
        learning_rate: of Muon and AdamW.
        warm_up_steps: first steps, over which the rate rises.
        weight_decay: decoupled, of matrices only.
        label_smoothing: share of the target spread over all concepts.
        average_decay: per step, of the moving average of the weights.
        seed: of initialisation, order, captions, views and dropped patches.
        sam: ρ of SAM; 0 for none.
        sam_share: share of the epochs, the last ones, that are trained with it.
    """

    tower: Tower
    epochs: int
    cool_down_epochs: int
    whole_epochs: int
    teacher: bool = False
    easy_epochs: int = 8
    patch_dropout: float = 0.0
    mix: float = 0.0
    style: float = 0.3
    batch_size: int = 256
    unit: int = 128
    captions_per_step: int = 64
    pulled_captions_per_step: int = 128
    pull_from_epoch: int = 28
    pull: float = 8.0
    imitation: float = 0.0
    feature: float = 0.0
    steps_per_epoch: int = 0
    learning_rate: float = 3e-3
    warm_up_steps: int = 30
    weight_decay: float = 0.05
    label_smoothing: float = 0.1
    average_decay: float = 0.998
    seed: int = 0
    sam: float = 0.0
    sam_share: float = 1.0


#: The recipes of the shipped models.
RECIPES: dict[Tower, Recipe] = {
    "rn": Recipe("rn", epochs=256, cool_down_epochs=76, whole_epochs=12),
    "vit": Recipe(
        "vit",
        teacher=True,
        epochs=82,
        cool_down_epochs=24,
        whole_epochs=4,
        mix=0.5,
        imitation=0.7,
        feature=10.0,
    ),
}


def quick(recipe: Recipe) -> Recipe:
    """The same path in a few steps; the model will know next to nothing."""
    return replace(
        recipe,
        epochs=2,
        cool_down_epochs=1,
        whole_epochs=1,
        easy_epochs=1,
        pull_from_epoch=0,
        batch_size=128,
        unit=64,
        steps_per_epoch=6,
        warm_up_steps=2,
    )
