"""emoji-clip: open_clip itself loads it, it scores what its card says, and its recipe is reproducible."""

import contextlib
import dataclasses
import json
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from cl_forget.ground.errors import UserError
from cl_forget.models.zoo import emoji_clip
from cl_forget.models.zoo.emoji_clip import _muon, _patches, augment, captions, pretrain
from cl_forget.streams import emoji

NAME = f"local-dir:{emoji_clip.FOLDER}"


@pytest.fixture(scope="module")
def model_and_transform():
    model, _, transform = open_clip.create_model_and_transforms(NAME)
    return model.eval(), transform


@pytest.fixture(scope="module")
def tokenizer():
    return open_clip.get_tokenizer(NAME)


def test_it_is_a_plain_open_clip_model(model_and_transform) -> None:
    model, _ = model_and_transform
    assert isinstance(model.visual, open_clip.transformer.VisionTransformer)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    files = [path for path in emoji_clip.FOLDER.iterdir() if path.suffix in (".json", ".safetensors")]
    assert sum(path.stat().st_size for path in files) <= 10e6


def test_transform_and_pretraining_agree(model_and_transform) -> None:
    _, transform = model_and_transform
    picture = emoji.load().on_background()[100]
    by_transform = transform(Image.fromarray(picture.permute(1, 2, 0).numpy()))
    by_hand = (picture / 255 - 0.5) / 0.5
    assert torch.allclose(by_transform, by_hand, atol=1e-6)


@pytest.mark.parametrize(
    ("split", "threshold"),
    [("held_out_pair", 0.45), ("fluent-emoji", 0.7), ("fluent-emoji-high-contrast", 0.25)],
)
def test_zero_shot_score_on_a_fixed_subset(
    model_and_transform, tokenizer, split: str, threshold: float
) -> None:
    data = emoji.load()
    mask = data.held_out_pair if split == "held_out_pair" else data.unseen_style & data.in_style(split)
    members = mask.nonzero().flatten()
    subset = torch.zeros_like(mask)
    subset[members[:: len(members) // 300]] = True
    assert pretrain.zero_shot(model_and_transform[0], tokenizer, data, subset) >= threshold


def test_it_never_saw_the_clock_faces(model_and_transform, tokenizer) -> None:
    """Held-out concepts leave room to learn: 24 clock faces are told apart by name hardly better than by
    chance."""
    data = emoji.load()
    model, _ = model_and_transform
    clocks = [index for index, concept in enumerate(data.concepts) if concept.clock_face]
    mask = torch.isin(data.concept, torch.tensor(clocks))
    with torch.inference_mode():
        texts = model.encode_text(tokenizer([data.concepts[index].name for index in clocks]), normalize=True)
        images = model.encode_image((data.on_background()[mask] / 255 - 0.5) / 0.5, normalize=True)
    best = torch.tensor(clocks)[(images @ texts.T).argmax(1)]
    assert (best == data.concept[mask]).float().mean() < 0.25


def test_tokenizer_knows_every_text_and_keeps_the_end(tokenizer) -> None:
    tokens = tokenizer(["an emoji of red heart.", "Ünknown wörds 日本 …", "", "a very long text " * 20])
    assert tokens.shape == (4, captions.CONTEXT_LENGTH)
    # open_clip reads the text feature at the highest token, which must be the end, once.
    assert (tokens.max(1).values == captions.VOCABULARY - 1).all()
    assert ((tokens == captions.VOCABULARY - 1).sum(1) == 1).all()
    assert len({tuple(row) for row in tokenizer(["digit one", "digit two", "qwx", "qwy"]).tolist()}) == 4
    assert (
        tokenizer.tokenizer.decode(
            tokenizer.tokenizer("Zwölf Häuser").input_ids, skip_special_tokens=True
        ).strip()
        == "zwolf hauser"
    )


def test_shipped_tokenizer_is_the_recipes(tmp_path: Path) -> None:
    texts = [
        text for concept in emoji.load().concepts for kind in captions.captions(concept) for text in kind
    ]
    captions.train_tokenizer(texts, tmp_path)
    assert (tmp_path / "tokenizer.json").read_bytes() == (emoji_clip.FOLDER / "tokenizer.json").read_bytes()


def test_views_vary_stay_in_range_and_repeat() -> None:
    images = emoji.load().images[:64]

    def views(seed: int) -> Tensor:
        return augment.augment(images, torch.Generator().manual_seed(seed))

    assert views(0).shape == (64, 3, 32, 32)
    assert views(0).min() >= 0 and views(0).max() <= 1
    assert torch.equal(views(0), views(0))
    assert (views(0) - views(1)).abs().mean() > 0.05


def test_patches_kept_are_whole_tokens_and_the_class_token() -> None:
    tokens = torch.arange(5 * 65 * 2.0).view(5, 65, 2)
    keep = _patches.KeepPatches(0.25)
    _patches.generator_of_thread.own = torch.Generator().manual_seed(0)
    kept = keep(tokens)
    assert kept.shape == (5, 17, 2)
    for before, after in zip(tokens, kept, strict=True):
        assert torch.equal(before[0], after[0])
        assert len({tuple(token) for token in after.tolist()}) == 17
        assert all((before == token).all(1).any() for token in after)
    assert torch.equal(keep.eval()(tokens), tokens)


def test_orthogonalised_update_keeps_directions() -> None:
    """Against the singular value decomposition: same singular vectors, all singular values near one."""
    matrix = torch.randn(24, 60, generator=torch.Generator().manual_seed(0))
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    for given, u, v in ((matrix, left, right), (matrix.T, right.T, left.T)):
        core = u.T @ _muon.orthogonalise(given) @ v.T
        values = core.diagonal()
        assert (values > 0.6).all() and (values < 1.3).all()
        assert torch.allclose(core, values.diag(), atol=1e-4)


class _Killed(Exception):
    pass


@contextlib.contextmanager
def _killed_after(steps: int, monkeypatch: pytest.MonkeyPatch):
    """Inside, pre-training dies once it has done so many steps."""
    real, done = pretrain._Trainer._after_step, 0

    def after_step(self: pretrain._Trainer, step: int) -> None:
        nonlocal done
        done += 1
        if done > steps:
            raise _Killed
        real(self, step)

    with monkeypatch.context() as patched, pytest.raises(_Killed):
        patched.setattr(pretrain._Trainer, "_after_step", after_step)
        yield


def test_killed_and_resumed_run_gives_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = 3
    few = torch.arange(len(emoji.load())) % 60 == 0
    few &= emoji.load().held_out_pair
    monkeypatch.setattr(
        pretrain,
        "all_scores",
        lambda model, tokenizer, data: {"few": pretrain.zero_shot(model, tokenizer, data, few)},
    )
    monkeypatch.setattr(pretrain, "QUICK", dataclasses.replace(pretrain.QUICK, steps_per_epoch=steps))
    scores = pretrain.pretrain(tmp_path / "whole", quick=True, threads=1)
    with _killed_after(steps + 1, monkeypatch):
        pretrain.pretrain(tmp_path / "killed", quick=True, threads=1)
    # Nor does the number of threads change a bit.
    assert pretrain.pretrain(tmp_path / "killed", quick=True, threads=2, resume=True) == scores
    for name in ("open_clip_model.safetensors", "checkpoint.safetensors", "tokenizer.json", "log.jsonl"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "killed" / name).read_bytes(), name
    log = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()]
    assert log[1]["loss"] < log[0]["loss"]
    # The exported folder is complete: open_clip loads it as it loads the shipped one.
    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{tmp_path / 'whole'}")
    exported = load_file(tmp_path / "whole" / "open_clip_model.safetensors")
    assert torch.equal(model.visual.proj, exported["visual.proj"].float())
    assert np.isclose(model.logit_scale.item(), exported["logit_scale"].item())


def test_resuming_nothing_and_resuming_another_recipe_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing to resume"):
        pretrain.pretrain(tmp_path, quick=True, resume=True)
    (tmp_path / "checkpoint.safetensors").write_bytes(b"")
    (tmp_path / "recipe.json").write_text(json.dumps(dataclasses.asdict(pretrain.Recipe())))
    with pytest.raises(UserError, match="other settings"):
        pretrain.pretrain(tmp_path, quick=True, seed=7, resume=True)
