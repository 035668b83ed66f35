"""Model soup: the mean of the weights after each stage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from cl_forget.mitigations.claim import Claim
from cl_forget.mitigations.protocol import Mitigation

if TYPE_CHECKING:
    from cl_forget.mitigations.protocol import Weights
    from cl_forget.training.context import Edit


class ModelSoup(Mitigation):
    """`θ = (1/T)·Σ_t θ_t` over the tuned weights of the stages so far, each with the same weight.

    As published, the ingredients are fine-tuned from one θ0 on their own: add `restart` for that. Without it
    they are the stages of one sequence, and the soup is an average along its trajectory. Checkpoints within a
    task are not averaged, so after the first stage the soup is the tuned model unless θ0 is an ingredient.
    Every key takes part, heads included: the head of a task counts with its untuned value in every stage that
    did not tune it. BatchNorm running statistics are averaged, not re-estimated (add `batch_norm` for that);
    integer buffers keep the tuned value.

    Acts before `wise_ft`, `lines` and `hma`, for which the soup is the tuned end.

    Attributes:
        with_pretrained: whether θ0 is one more ingredient.
    """

    name = "model_soup"
    place = "weights"
    order = -2
    claims = frozenset({Claim.STAGE_WEIGHTS})
    post_hoc = True
    title = "Model soup"
    formula = "θ = mean of θ_1 … θ_T"
    cost = "none in training; one more set of weights per checkpoint"
    advice = "To average the stages of a sequence at no cost."
    source = "Wortsman et al. 2022, arXiv:2203.05482, §2 (uniform soup)"

    with_pretrained: bool = Field(default=False, description="θ0 is one more ingredient")

    @property
    def needs_past(self) -> bool:
        """One stage is its own mean."""
        return not self.with_pretrained

    def edit_weights(self, edit: Edit, weights: Weights) -> Weights:
        """The mean."""
        ingredients = [*edit.history, *([lambda: edit.anchor("pretrained")] if self.with_pretrained else [])]
        edited = dict(weights)
        names = [name for name, tensor in weights.items() if tensor.is_floating_point()]
        for number, load in enumerate(ingredients):
            ingredient = load()
            for name in names:
                tensor = ingredient[name].to(weights[name].device)  # checkpoints are read on the CPU
                edited[name] = edited[name] + tensor if number else tensor
        return {**edited, **{name: edited[name] / len(ingredients) for name in names}}
