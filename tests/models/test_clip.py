"""CLIP models: what is remembered of the text tower is never older than its weights."""

from __future__ import annotations

import pytest
import torch
from tiny import squares, tiny_clip


@pytest.mark.parametrize("fused", [True, False])
def test_zero_shot_heads_follow_the_text_tower(fused: bool) -> None:
    model, labels = tiny_clip().eval(), squares()[0].labels
    head = model.zero_shot_head(labels)
    assert model.zero_shot_head(labels) is head  # nothing changed: the same object

    model.load_state_dict({name: tensor * 1.1 for name, tensor in model.state_dict().items()})
    loaded = model.zero_shot_head(labels)
    assert not torch.equal(loaded.weight, head.weight)

    scale = model.clip.logit_scale.requires_grad_()
    model.train()
    scale.grad = torch.ones_like(scale)
    torch.optim.AdamW([scale], lr=0.5, fused=fused).step()
    assert not torch.equal(model.zero_shot_head(labels).weight, loaded.weight)
    trained = model.zero_shot_head(labels)
    model.eval()
    torch.testing.assert_close(model.zero_shot_head(labels).weight, trained.weight)
