"""LiNeS block by block."""

from __future__ import annotations

from types import SimpleNamespace

import classifiers
import pytest
import torch
from drive import Bigrams, assert_close, clip, distance, weights
from edits import apply, edit_of, same_bits
from pydantic import ValidationError

from cl_forget.ground.errors import UserError
from cl_forget.mitigations import Chain
from cl_forget.mitigations.lines import LiNeS
from cl_forget.mitigations.wise_ft import WiseFT
from cl_forget.run.simulate import simulate
from cl_forget.training.context import Edit


def test_scale_is_linear_in_depth() -> None:
    method = LiNeS(a=0.4)
    assert [method.share(block, 4) for block in range(4)] == pytest.approx([0.4, 0.6, 0.8, 1.0])
    assert method.share(None, 4) == 0.4 and method.share(0, 1) == 1.0


def test_every_parameter_as_written() -> None:
    edit = edit_of()
    tuned = weights(edit.model)
    found = apply(edit, LiNeS(a=0.2))
    for name, tensor in tuned.items():
        scale = 1.0 if "visual.transformer.resblocks.1." in name else 0.2
        expected = edit.pretrained[name] + scale * (tensor - edit.pretrained[name])
        torch.testing.assert_close(found[name], expected, atol=1e-12, rtol=0)


def test_a_text_towers_blocks_have_the_scale_of_their_own_depth() -> None:
    text = [f"clip.transformer.resblocks.{i}.weight" for i in range(3)]
    image = [f"clip.visual.transformer.resblocks.{i}.weight" for i in range(2)]
    outside = ["clip.token_embedding.weight", "clip.visual.proj", "heads.squares-1.weight"]
    model = SimpleNamespace(
        blocks=2,
        block_of=lambda name: image.index(name) if name in image else None,
        text_parameters=lambda: [*text, outside[0]],
    )
    before = {name: torch.zeros(2) for name in (*text, *image, *outside)}
    after = {name: torch.ones(2) for name in before}
    for towers, of_text in (("both", [0.2, 0.6, 1.0]), ("image", [0.2, 0.2, 0.2])):
        found = LiNeS(a=0.2, towers=towers).edit_weights(Edit(model, before, before), after)
        scales = dict(zip((*text, *image, *outside), [*of_text, 0.2, 1.0, 0.2, 0.2, 0.2], strict=True))
        assert {name: float(tensor[0]) for name, tensor in found.items()} == pytest.approx(scales)


def test_a_model_without_a_text_tower_has_one_tower_to_scale() -> None:
    model = classifiers.net("vit")
    assert model.blocks > 0
    with pytest.raises(UserError, match="no text tower"):
        LiNeS(towers="both").check(model, ())


def test_ends() -> None:
    edit = edit_of(clip().float())
    tuned = weights(edit.model)
    same_bits(apply(edit, LiNeS(a=1.0)), tuned)
    same_bits(LiNeS(a=1.0).edit_weights(edit, tuned), tuned)
    for name, tensor in apply(edit, LiNeS(a=0.0)).items():
        end = tuned if "visual.transformer.resblocks.1." in name else edit.pretrained
        assert torch.equal(tensor, end[name])


def test_commutes_with_wise_ft() -> None:
    """Both scale the way from θ0 to θ; listing order does not matter to the bit, nor the order of action."""
    edit = edit_of()
    one = apply(edit, LiNeS(a=0.2), WiseFT(alpha=0.6))
    same_bits(one, apply(edit, WiseFT(alpha=0.6), LiNeS(a=0.2)))
    other = LiNeS(a=0.2).edit_weights(edit, WiseFT(alpha=0.6).edit_weights(edit, weights(edit.model)))
    assert_close(one, other, atol=1e-12)
    assert distance(one, apply(edit, LiNeS(a=0.2))) > 1e-3


def test_needs_blocks_and_refuses_a_second_scale_by_depth() -> None:
    model = Bigrams()
    with pytest.raises(UserError, match="wise_ft"):
        LiNeS().edit_weights(Edit(model, weights(model), weights(model)), weights(model))
    from cl_forget.mitigations.hma import HeterogeneousAveraging

    with pytest.raises(UserError, match="scale of each depth"):
        Chain([LiNeS(), HeterogeneousAveraging()])


def test_simulates_a_sequence_with_its_curve(tiny_run) -> None:
    run = tiny_run(mitigations=[{"lines": 0.5}], suites=[], probes=[], evaluate={"curves": True})
    result = simulate(run)
    assert len(result.rows) == 4 and len(result.curves[0].points) == len(LiNeS.grid)


@pytest.mark.parametrize("fields", [{"a": -0.1}, {"a": 1.1}, {"anchor": "zero"}])
def test_bad_settings_are_refused(fields: dict) -> None:
    with pytest.raises(ValidationError):
        LiNeS(**fields)
