"""Image classifiers as foundation models: features by depth, heads, their own classes, files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from classifiers import BLOCKS, NETS, hf_folder, net
from tiny import COLOURS, experience

from cl_forget.ground.errors import UserError
from cl_forget.models import load_model
from cl_forget.models._own_classes import OwnClasses, of_imagenet, of_labels
from cl_forget.models.classifier import ImageClassifier
from cl_forget.streams import load_suite
from cl_forget.streams.base import Experience, LabelSpace
from cl_forget.weights.blocks import block_paths
from cl_forget.weights.layout import Layout

TASK = experience("squares", seed=1)


def batch_of(model: ImageClassifier, task: Experience = TASK, count: int = 3):  # type: ignore[no-untyped-def]
    return model.prepare(task.test, task, "test").batch(torch.arange(count))


def check(model: ImageClassifier, blocks: int | None) -> None:
    """Depths are those of the forward pass, and every weight that is tuned gets a gradient."""
    model.add_task(TASK)
    batch = batch_of(model)
    count = model.blocks
    assert count and (blocks is None or count == blocks) and len(model.depths) == count + 1
    with torch.no_grad():
        plain, deep = model(batch), model(batch, model.depths)
        torch.testing.assert_close(deep.embedding, plain.embedding)
        own = model.own_logits(plain.embedding)
        if own is not None:
            torch.testing.assert_close(own, getattr(out := model.net(batch.inputs), "logits", out))
        assert plain.embedding.shape == (3, model.width) and plain.logits.shape == (3, 3)
        for depth, features in deep.features.items():
            assert features.ndim == 3 and len(features) == 3, depth
        layers = {name: model.layer_of(name) for name, _ in model.named_parameters()}
        assert set(layers.values()) == set(range(count + 2))
        deeper = [layers[name] for name in model.tunable(TASK)]
        assert deeper == sorted(deeper), "what lies between two blocks is no part of the end"
        for name, parameter in model.named_parameters():
            if layers[name] == count:
                parameter.add_(0.1)
        changed = model(batch, model.depths).features
    same = [torch.equal(changed[depth], deep.features[depth]) for depth in model.depths]
    assert same == [True] * count + [False]
    tuned = model.tunable(TASK)
    model.requires_grad_(True)
    model(batch).unit_losses().mean().backward()
    got = {n for n, p in model.named_parameters() if p.grad is not None}
    assert got == set(tuned)
    # A file's names tell the same places, for edits that know nothing but the file.
    if block_paths(name for name, _ in model.net.named_parameters()):
        layout = Layout([name.removeprefix("net.") for name in model.net.state_dict(prefix="net.")])
        for name in model.net.state_dict(prefix="net."):
            assert layout.block_of(name.removeprefix("net.")) == model.block_of(name), name


def test_numbers_that_stand_twice_tell_no_depth() -> None:
    names = [f"{branch}.layers.{i}.weight" for branch in ("left", "right") for i in (0, 1)]
    assert block_paths(names) == [] and Layout(names).blocks == 0
    assert block_paths(names[:2]) == ["left.layers.0", "left.layers.1"]


@pytest.mark.parametrize("kind", NETS)
def test_a_network_of_timm(kind: str) -> None:
    check(net(kind), BLOCKS.get(kind))


@pytest.mark.parametrize("kind", ["vit", "dinov2", "beit", "resnet", "convnext", "swin"])
@pytest.mark.parametrize("classifies", [True, False])
def test_a_network_of_transformers(kind: str, classifies: bool, tmp_path: Path) -> None:
    model = load_model(f"hf-image:{hf_folder(tmp_path, kind, classifies)}")
    assert isinstance(model, ImageClassifier)
    check(model, 4 if kind in ("resnet", "convnext") else 2)
    assert (model.own_logits(torch.zeros(1, model.width)) is not None) == classifies


def test_a_model_of_images_and_texts_is_used_without_its_texts(tmp_path: Path) -> None:
    model = load_model(f"hf-image:{hf_folder(tmp_path, 'siglip', classifies=False)}")
    assert isinstance(model, ImageClassifier) and not any(
        "text" in name for name, _ in model.named_parameters()
    )
    check(model, 2)


def test_a_head_says_nothing_until_it_is_fitted() -> None:
    model, task = net(), replace(TASK, labels=LabelSpace("squares", ("warm", "cold", "dull")))
    assert not model.can_answer(task)
    model.add_task(task)
    assert not model.can_answer(task) and float(model(batch_of(model, task)).logits.abs().max()) == 0
    with torch.no_grad():
        model.get_parameter("heads.squares.bias")[1] = 1.0
    assert model.can_answer(task)
    with pytest.raises(UserError, match="shares head 'squares' but has 4 classes where the head has 3"):
        model.add_task(experience("squares", seed=1, classes=4))


def test_its_own_head_answers_a_suite_of_its_classes() -> None:
    model = net()
    names = list(COLOURS)[::-1][:3]  # other classes, in another order
    suite = Experience(
        "own", LabelSpace("own", tuple(n.upper() for n in names)), None, TASK.validation, TASK.test
    )
    model.check_suite(suite)
    batch = batch_of(model, suite)
    with torch.no_grad():
        forward = model(batch)
        everything = model.net(batch.inputs)
    rows = [list(COLOURS).index(name) for name in names]
    torch.testing.assert_close(forward.logits, everything[:, rows])
    assert model.can_answer(suite)


@pytest.mark.parametrize("classes, said", [
    (("red", "purple"), "1 of 2, the first 'purple'"),
    (("red", "Red_"), "'red' and 'Red_' are one class"),
])  # fmt: skip
def test_a_suite_of_other_classes_is_refused(classes: tuple[str, ...], said: str) -> None:
    model = net()
    test = TASK.test.subset([0])
    suite = Experience("other", LabelSpace("other", classes), None, test, test)
    with pytest.raises(UserError) as caught:
        model.check_suite(suite)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_an_encoder_without_a_head_answers_no_suite(tmp_path: Path) -> None:
    model = load_model(f"hf-image:{hf_folder(tmp_path, 'dinov2', classifies=False)}")
    with pytest.raises(UserError, match="has no head of its own to answer suite 'colours'"):
        model.check_suite(load_suite("colours"))


def test_names_of_classes() -> None:
    imagenet = of_imagenet(1000)

    def rows(*names: str, own: OwnClasses = imagenet) -> list[int]:
        space = LabelSpace("x", names)
        data = TASK.test.subset([0])
        return own.positions(Experience("x", space, None, data, data), "timm:x")

    assert rows("n02123045", "Egyptian_cat", "tiger cat") == [281, 285, 282]
    assert rows("tabby, tabby cat", "espresso") == [281, 967]
    assert rows("maillot") == [638]  # a whole name before a word of another
    with pytest.raises(UserError, match="'crane' names 2 classes"):
        rows("crane")
    assert of_imagenet(7).names == () and of_labels({0: "LABEL_0", 1: "LABEL_1"}, 2).names == ()
    assert rows("8", "3", own=of_labels({str(i): str(i) for i in range(10)}, 10)) == [8, 3]
    assert of_labels(["a"], 2).names == ()


@pytest.mark.parametrize("kind", ["resnet", "vit"])
def test_a_model_of_timm_is_written_and_read(kind: str, tmp_path: Path) -> None:
    model = net(kind).float()
    model.add_task(TASK)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01)
    model.export(tmp_path)
    again = load_model(f"timm:local-dir:{tmp_path / 'model'}")
    assert isinstance(again, ImageClassifier)
    again.add_task(TASK)
    again.load_exported(tmp_path)
    state = model.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in again.state_dict().items())
    assert again.depths == model.depths and again._own_classes.names == model._own_classes.names
    image = TASK.test.image(0)
    assert (again._preprocess.to_uint8(image) == model._preprocess.to_uint8(image)).all()


@pytest.mark.parametrize("kind", ["resnet", "vit"])
def test_a_model_of_transformers_is_written_and_read(kind: str, tmp_path: Path) -> None:
    model = load_model(f"hf-image:{hf_folder(tmp_path / 'base', kind)}")
    model.add_task(TASK)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01)
    model.export(tmp_path)
    again = load_model(f"hf-image:{tmp_path / 'model'}")
    again.add_task(TASK)
    again.load_exported(tmp_path)
    state = model.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in again.state_dict().items())
