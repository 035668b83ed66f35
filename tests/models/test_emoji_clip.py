"""emoji-clip and emoji-clip-rn: open_clip itself loads them, they score what their cards say, and their recipes are
reproducible."""

import contextlib
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from cl_forget.ground.errors import UserError
from cl_forget.models import load_model
from cl_forget.models.zoo import emoji_clip, emoji_clip_rn
from cl_forget.models.zoo.emoji_clip import (
    _muon,
    _patches,
    _statistics,
    augment,
    captions,
    evaluate,
    objectives,
    pretrain,
    recipe,
    towers,
    training,
)
from cl_forget.streams import emoji

MODELS: dict[recipe.Tower, ModuleType] = {"vit": emoji_clip, "rn": emoji_clip_rn}
TOWERS = {"vit": open_clip.transformer.VisionTransformer, "rn": open_clip.modified_resnet.ModifiedResNet}


@pytest.fixture(scope="module", params=MODELS)
def tower(request: pytest.FixtureRequest) -> recipe.Tower:
    return request.param


@pytest.fixture(scope="module")
def model_and_transform(tower: recipe.Tower) -> tuple[Any, Any]:
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{MODELS[tower].FOLDER}")
    return model.eval(), transform


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return open_clip.get_tokenizer(f"local-dir:{emoji_clip.FOLDER}")


def test_it_is_a_plain_open_clip_model(tower: recipe.Tower, model_and_transform) -> None:
    model, _ = model_and_transform
    assert type(model.visual) is TOWERS[tower]
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    files = [path for path in MODELS[tower].FOLDER.iterdir() if path.suffix in (".json", ".safetensors")]
    assert sum(path.stat().st_size for path in files) <= 10e6
    named: Any = load_model({"vit": "emoji-clip", "rn": "emoji-clip-rn"}[tower])
    for name, value in model.visual.state_dict().items():
        assert torch.equal(named.clip.visual.state_dict()[name], value)


def test_the_towers_share_text_and_tokenizer() -> None:
    """The student took over its teacher's text tower: both models name concepts in one space."""
    vit, rn = (load_file(module.FOLDER / "open_clip_model.safetensors") for module in MODELS.values())
    text = [name for name in rn if not name.startswith("visual.")]
    assert len(text) > 20
    assert all(torch.equal(vit[name], rn[name]) for name in text)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (emoji_clip.FOLDER / name).read_bytes() == (emoji_clip_rn.FOLDER / name).read_bytes()


def test_running_statistics_are_of_many_pictures(tower: recipe.Tower, model_and_transform) -> None:
    layers = [part for part in model_and_transform[0].modules() if isinstance(part, nn.BatchNorm2d)]
    assert bool(layers) == (tower == "rn")
    for layer in layers:
        assert int(layer.num_batches_tracked) == 16
        assert layer.running_var.min() > 0 and layer.running_mean.abs().max() > 0


def test_shipped_settings_are_the_recipes(tower: recipe.Tower) -> None:
    shipped = json.loads((MODELS[tower].FOLDER / "recipe.json").read_text())
    assert shipped == dataclasses.asdict(recipe.RECIPES[tower])


def test_transform_and_pretraining_agree(model_and_transform) -> None:
    _, transform = model_and_transform
    picture = emoji.load().on_background()[100]
    by_transform = transform(Image.fromarray(picture.permute(1, 2, 0).numpy()))
    by_hand = (picture / 255 - 0.5) / 0.5
    assert torch.allclose(by_transform, by_hand, atol=1e-6)


@pytest.mark.parametrize(
    ("split", "threshold"),
    [("held_out_pair", 0.5), ("fluent-emoji", 0.8), ("fluent-emoji-high-contrast", 0.65)],
)
def test_zero_shot_score_on_a_fixed_subset(
    model_and_transform, tokenizer, split: str, threshold: float
) -> None:
    data = emoji.load()
    mask = data.held_out_pair if split == "held_out_pair" else data.unseen_style & data.in_style(split)
    members = mask.nonzero().flatten()
    subset = torch.zeros_like(mask)
    subset[members[:: len(members) // 300]] = True
    model = model_and_transform[0]
    exact = pretrain.zero_shot(model, tokenizer, data, subset)
    assert exact >= threshold
    assert pretrain.zero_shot(model, tokenizer, data, subset, same=evaluate.anyone) >= exact
    assert pretrain.zero_shot(model, tokenizer, data, subset, same=lambda name: "") == 1


def test_the_card_says_what_is_measured(tower: recipe.Tower, model_and_transform, tokenizer) -> None:
    data = emoji.load()
    score = pretrain.zero_shot(model_and_transform[0], tokenizer, data, data.held_out_pair)
    card = (MODELS[tower].FOLDER / "README.md").read_text()
    row = next(line for line in card.splitlines() if line.startswith("| held-out (concept, style) pairs"))
    assert abs(float(row.split("|")[2].split()[0]) - 100 * score) < 0.3


@pytest.mark.parametrize(
    ("name", "other"),
    [("woman biking", "person biking"), ("men holding hands", "women holding hands"), ("boy", "girl")],
)
def test_gender_aside(name: str, other: str) -> None:
    assert evaluate.anyone(name) == evaluate.anyone(other) != name
    assert evaluate.anyone("mango and snowman") == "mango and snowman"


@pytest.mark.parametrize("task", ["clock_face", "country_flag"])
def test_it_never_saw_the_concepts_of_a_task(model_and_transform, tokenizer, task: str) -> None:
    """Held-out concepts leave room to learn: clock faces and flags are told apart by name hardly better than by
    chance."""
    data = emoji.load()
    model, _ = model_and_transform
    own = [index for index, concept in enumerate(data.concepts) if getattr(concept, task)]
    mask = torch.isin(data.concept, torch.tensor(own))
    with torch.inference_mode():
        texts = model.encode_text(tokenizer([data.concepts[index].name for index in own]), normalize=True)
        images = model.encode_image((data.on_background()[mask] / 255 - 0.5) / 0.5, normalize=True)
    best = torch.tensor(own)[(images @ texts.T).argmax(1)]
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


def test_a_mixed_view_says_how_much_of_it_is_its_own() -> None:
    """Flat pictures, each of its own shade: the mean of a view tells its composition."""
    shades = torch.arange(64.0).view(64, 1, 1, 1).expand(-1, 3, 32, 32)
    mixed, share = augment.mix(shades, torch.Generator().manual_seed(0), 0.5)
    expected = share * shades.mean((1, 2, 3)) + (1 - share) * shades.roll(1, 0).mean((1, 2, 3))
    assert torch.allclose(mixed.mean((1, 2, 3)), expected, atol=1e-3)
    assert 0.2 < (share == 1).float().mean() < 0.8
    assert share.min() > 0.25 and share.max() <= 1
    pasted = [
        view for view, own in zip(mixed[1:], share[1:], strict=True) if own < 1 and len(view.unique()) == 2
    ]
    assert pasted  # some are CutMix: only two shades, side by side
    untouched, share = augment.mix(shades, torch.Generator().manual_seed(0), 0.0)
    assert torch.equal(untouched, shades) and (share == 1).all()


def test_style_changes_views_but_not_where_things_are() -> None:
    images = emoji.load().images[:64]
    plain = augment.augment(images, torch.Generator().manual_seed(0), 0.0)
    styled = augment.augment(images, torch.Generator().manual_seed(0), 0.0, style=1.0)
    assert (plain - styled).abs().mean() > 0.02


def test_running_statistics_are_the_mean_over_the_batches() -> None:
    tower = nn.Sequential(nn.BatchNorm2d(2))
    _statistics.leave_alone(tower)
    batches = torch.randn(4, 32, 2, 3, 3, generator=torch.Generator().manual_seed(0)) * 3 + 1
    tower.train()(batches[0])
    assert torch.equal(tower[0].running_mean, torch.zeros(2))  # a step leaves them alone
    _statistics.estimate(tower.eval(), batches)
    assert not tower.training
    assert torch.allclose(tower[0].running_mean, batches.mean((0, 1, 3, 4)), atol=1e-5)
    assert torch.allclose(tower[0].running_var, batches.transpose(1, 2).flatten(2).var(2).mean(0), atol=1e-4)


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
    both = torch.stack([matrix, 3 * matrix.flip(0)])
    for one, alone in zip(_muon.orthogonalise(both), both, strict=True):
        assert torch.allclose(one, _muon.orthogonalise(alone), atol=1e-5)


def test_muon_moves_matrices_of_one_shape_each_by_its_own_gradient() -> None:
    generator = torch.Generator().manual_seed(0)
    weights = [nn.Parameter(torch.randn(6, 8, generator=generator)) for _ in range(2)]
    weights.append(nn.Parameter(torch.randn(6, 2, 2, 2, generator=generator)))  # a kernel of the same size
    before = [weight.detach().clone() for weight in weights]
    for weight in weights:
        weight.grad = torch.randn(weight.shape, generator=generator)
    _muon.Muon(weights, lr=0.1, weight_decay=0.5).step()
    for weight, old in zip(weights, before, strict=True):
        direction = _muon.orthogonalise((weight.grad.lerp(weight.grad * 0.05, 0.95)).flatten(1))
        expected = old * (1 - 0.05) - 0.1 * 0.2 * 8**0.5 * direction.view_as(old)
        assert torch.allclose(weight, expected, atol=1e-5)


class _Killed(Exception):
    pass


@contextlib.contextmanager
def _killed_after(steps: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Inside, pre-training dies once it has done so many steps."""
    real, done = training.Trainer._prepare, 0

    def prepare(self: training.Trainer, step: int, chosen: Tensor) -> None:
        nonlocal done
        done += 1
        if done > steps:
            raise _Killed
        real(self, step, chosen)

    with monkeypatch.context() as patched, pytest.raises(_Killed):
        patched.setattr(training.Trainer, "_prepare", prepare)
        yield


@pytest.mark.parametrize("kind", MODELS)
def test_killed_and_resumed_run_gives_the_same_bits(
    kind: recipe.Tower, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = 2
    few = torch.arange(len(emoji.load())) % 60 == 0
    few &= emoji.load().held_out_pair
    monkeypatch.setattr(training, "_SETTLING", 1)
    monkeypatch.setattr(
        pretrain,
        "all_scores",
        lambda model, tokenizer, data: {"few": pretrain.zero_shot(model, tokenizer, data, few)},
    )
    short = dataclasses.replace(recipe.quick(recipe.RECIPES[kind]), steps_per_epoch=steps)
    scores = pretrain.train(short, tmp_path / "whole", threads=1)
    with _killed_after(steps + 1, monkeypatch):
        pretrain.train(short, tmp_path / "killed", threads=1)
    # Nor does the number of threads change a bit.
    assert pretrain.train(short, tmp_path / "killed", threads=2, resume=True) == scores
    for name in ("open_clip_model.safetensors", "checkpoint.safetensors", "tokenizer.json", "log.jsonl"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "killed" / name).read_bytes(), name
    log = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in log] == [1, 2] and all(np.isfinite(line["loss"]) for line in log)
    # The exported folder is complete: open_clip loads it as it loads the shipped one.
    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{tmp_path / 'whole'}")
    exported = load_file(tmp_path / "whole" / "open_clip_model.safetensors")
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, exported[name].to(tensor.dtype)), name
    if kind == "vit":  # the text tower is the teacher's
        teacher = load_file(emoji_clip_rn.FOLDER / "open_clip_model.safetensors")
        text = [name for name in teacher if not name.startswith("visual.")]
        assert all(torch.equal(exported[name], teacher[name]) for name in text)


def test_both_passes_of_sam_see_the_same_views_and_captions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a radius that float32 does not see, the run is the plain one to the bit."""
    monkeypatch.setattr(training, "_SETTLING", 1)
    monkeypatch.setattr(pretrain, "all_scores", lambda model, tokenizer, data: {})
    short = dataclasses.replace(recipe.quick(recipe.RECIPES["rn"]), steps_per_epoch=2, epochs=1)
    written = {}
    for rho in (0.0, 1e-30, 0.5):
        pretrain.train(dataclasses.replace(short, sam=rho), tmp_path / str(rho), threads=1)
        written[rho] = (tmp_path / str(rho) / "open_clip_model.safetensors").read_bytes()
    assert written[0.0] == written[1e-30] != written[0.5]


def test_a_student_that_answers_like_its_teacher_has_nothing_to_learn(tokenizer) -> None:
    """Divergence and distance are zero where student and teacher agree, and not where they do not."""
    concepts = [concept for concept in emoji.load().concepts if not concept.held_out]
    wanted = dataclasses.replace(recipe.RECIPES["vit"], imitation=1.0, feature=1.0)
    teacher, student = (towers.load_tower(emoji_clip_rn.FOLDER) for _ in range(2))
    objective = objectives.Teacher(student, teacher, concepts, tokenizer, wanted)
    pixels = emoji.load().on_background()[:8] / 255
    zeros = torch.zeros(8, dtype=torch.long)
    views = objectives.Views(pixels, zeros, zeros, torch.ones(8))
    assert objective.pictures(student, views).item() == pytest.approx(0, abs=1e-3)
    student.visual.load_state_dict(
        {name: value + 0.02 for name, value in student.visual.state_dict().items()}
    )
    assert objective.pictures(student, views).item() > 0.1
    # Only the image tower is trained, and the names are learnt as well where the recipe asks for it.
    assert {id(p) for p in objective.parameters} == {id(p) for p in student.visual.parameters()}
    named = objectives.Teacher(
        student, teacher, concepts, tokenizer, dataclasses.replace(wanted, imitation=0.0)
    )
    assert named.pictures(student, views).item() > 8


@pytest.mark.parametrize("kind", MODELS)
def test_the_command_makes_the_tower_it_names(
    kind: recipe.Tower, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cl_forget.models import RECIPES

    asked: list[recipe.Recipe] = []
    monkeypatch.setattr(pretrain, "train", lambda wanted, *rest: asked.append(wanted))
    make = RECIPES.get({"vit": "emoji-clip", "rn": "emoji-clip-rn"}[kind])
    make(tmp_path, epochs=None, seed=3, threads=1, resume=False, quick=False)
    make(tmp_path, epochs=7, seed=0, threads=1, resume=False, quick=True)
    assert asked[0] == dataclasses.replace(recipe.RECIPES[kind], seed=3)
    assert (asked[1].tower, asked[1].epochs) == (kind, 7)


def test_resuming_nothing_and_resuming_another_recipe_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing to resume"):
        pretrain.pretrain(tmp_path, quick=True, resume=True)
    (tmp_path / "checkpoint.safetensors").write_bytes(b"")
    (tmp_path / "recipe.json").write_text(json.dumps(dataclasses.asdict(recipe.RECIPES["vit"])))
    with pytest.raises(UserError, match="other settings"):
        pretrain.pretrain(tmp_path, quick=True, seed=7, resume=True)
