"""Image classifiers of timm: by architecture and tag, from a checkpoint file, a folder or the hub."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cl_forget.ground.documents import read_object
from cl_forget.ground.errors import UserError, first_line
from cl_forget.ground.files import whole
from cl_forget.ground.hub import hub_offline_if_unreachable, out_of_reach
from cl_forget.ground.registry import closest
from cl_forget.models._own_classes import OwnClasses, of_imagenet, of_labels
from cl_forget.models.plausible import refuse_implausible, refuse_not_finite
from cl_forget.models.sources import no_questions

if TYPE_CHECKING:
    from torch import Tensor, nn

    from cl_forget.models.classifier import ImageClassifier
    from cl_forget.weights.checkpoint import Checkpoint

_FORMS = (
    "timm:<architecture> for timm's own weights, timm:<architecture>/<tag, checkpoint file or none>, or "
    "timm:local-dir:<folder>"
)


def load_timm(what: str = "") -> ImageClassifier:
    """timm:<architecture>[/<tag, checkpoint file or none>], timm:local-dir:<folder>, timm:hf-hub:<name>.

    Without a tag, the weights that timm has for the architecture. "none" gives random weights, the same ones every
    time. A checkpoint of another number of classes than the architecture's is loaded with that number.

    Raises:
        UserError: unknown architecture or tag, missing, unreadable or foreign weights, hub out of reach, or a
            network that is no image classifier.
    """
    import timm
    import torch

    if not what:
        raise UserError(f"write {_FORMS}.")
    try:
        # The initial weights are drawn from a seed of their own, so "none" is one model, not many.
        with torch.random.fork_rng(devices=[]), no_questions():
            torch.manual_seed(0)
            if what.startswith("local-dir:"):
                net = _from_folder(Path(what.removeprefix("local-dir:")).expanduser())
            elif what.startswith("hf-hub:"):
                with hub_offline_if_unreachable():
                    net = timm.create_model(what, pretrained=True)
            else:
                net = _by_architecture(what)
    except UserError:
        raise
    except Exception as error:
        raise UserError(_why_not_loaded(what, error)) from error
    refuse_not_finite(f"timm:{what}", net)
    return classifier_of(net, f"timm:{what}")


def classifier_of(net: nn.Module, spec: str) -> ImageClassifier:
    """A network of timm as a foundation model.

    Args:
        net: it, with its `pretrained_cfg`.
        spec: what it is called in messages.

    Raises:
        UserError: it is no image classifier with a linear head, and no image encoder.
    """
    from timm.data import create_transform, resolve_data_config

    from cl_forget.models._images import ImagePreprocess
    from cl_forget.models.classifier import ImageClassifier

    config = resolve_data_config({}, model=net)
    if config["input_size"][0] != 3:
        raise UserError(
            f"'{spec}' reads images of {config['input_size'][0]} channels; give one for colour images."
        )
    preprocess = ImagePreprocess(create_transform(**config, is_training=False))
    return ImageClassifier(net, preprocess, _Timm(), _own_head(net, spec), _own_classes(net), spec)


def _by_architecture(what: str) -> nn.Module:
    import timm

    name, _, weights = what.partition("/")
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        raise UserError(
            f"timm has no architecture '{architecture}'.{closest(architecture, timm.list_models())} Write {_FORMS}."
        )
    if tag and weights:
        raise UserError(f"'timm:{what}' names weights twice; write timm:{architecture}/{weights}.")
    weights = tag or weights
    tags = list(timm.models.get_arch_pretrained_cfgs(architecture))
    tags = [known.partition(".")[2] for known in tags]
    if weights == "none":
        return timm.create_model(architecture, pretrained=False)
    file = Path(weights).expanduser() if weights else None
    if weights not in tags and file is not None and file.exists():
        return _from_file(architecture, file)
    if not weights or weights in tags:
        if not weights and not _has_weights(architecture):
            raise UserError(
                f"timm has no weights for '{architecture}'; write timm:{architecture}/<checkpoint file>, or /none "
                "for random ones."
            )
        with hub_offline_if_unreachable():
            return timm.create_model(
                f"{architecture}.{weights}" if weights else architecture, pretrained=True
            )
    if "/" in weights or weights.endswith((".pt", ".pth", ".bin", ".safetensors", ".tar", ".npz")):
        raise UserError(f"no checkpoint file at '{weights}': give a path that exists, a tag, or 'none'.")
    raise UserError(
        f"'{architecture}' has no weights '{weights}'.{closest(weights, tags)} Known tags: "
        f"{', '.join(filter(None, tags)) or 'none'}; or a checkpoint file, or 'none' for random weights."
    )


def _has_weights(architecture: str) -> bool:
    import timm

    config = timm.get_pretrained_cfg(architecture)
    return config is not None and bool(config.has_weights)


def _from_folder(folder: Path) -> nn.Module:
    """A model as timm saves it for the hub: config.json and weights."""
    import timm

    from cl_forget.weights.checkpoint import open_checkpoint

    own = folder / "config.json"
    if not own.is_file():
        raise UserError(f"no timm model in {folder}: it must hold config.json and weights.")
    config = read_object(own, "save the model again.")
    if not isinstance(config.get("architecture"), str):
        kind = (
            "it is a model of transformers, write hf-image:<folder>"
            if "model_type" in config
            else "save it again"
        )
        raise UserError(f"{own} names no architecture of timm; {kind}.")
    if not timm.is_model(config["architecture"]):
        raise UserError(f"{own} names '{config['architecture']}', which this version of timm does not have.")
    checkpoint = open_checkpoint(folder)
    # What the configuration keeps of other weights than these is no size of this model.
    refuse_implausible(str(own), {**config, "pretrained_cfg": None}, checkpoint.source.infos)
    net = timm.create_model(f"local-dir:{folder}", pretrained=False)
    state, _ = _fitted(checkpoint, net)
    set_weights(net, str(folder), state)
    return net


def _from_file(architecture: str, path: Path) -> nn.Module:
    """An architecture with the weights of a file, and with as many classes as they have."""
    import timm

    from cl_forget.weights.checkpoint import open_checkpoint

    checkpoint = open_checkpoint(path)
    net = timm.create_model(architecture, pretrained=False)
    state, head = _fitted(checkpoint, net)
    own = net.state_dict()
    rows = {len(state[name]) for name in head if name in state}
    if rows and rows != {len(own[name]) for name in head if name in own}:
        net = timm.create_model(architecture, pretrained=False, num_classes=rows.pop())
    elif head and not rows and not {name for name in own if name not in state}.difference(head):
        net = timm.create_model(architecture, pretrained=False, num_classes=0)
    set_weights(net, str(path), state)
    return net


def _fitted(checkpoint: Checkpoint, net: nn.Module) -> tuple[dict[str, Tensor], list[str]]:
    """A checkpoint's tensors by the network's names, and the names of its classifier's."""
    from cl_forget.weights.keys import harmless, refuse_quantised

    own = net.state_dict()
    checkpoint.know(own.keys())
    source = checkpoint.source
    state = {name: source.load(name) for name in source.infos}
    named = getattr(net, "pretrained_cfg", {}).get("classifier") or ()
    heads = [named] if isinstance(named, str) else list(named)
    head = [name for name in own if name.rpartition(".")[0] in heads]
    strange = [name for name in state if name not in own or own[name].shape != state[name].shape]
    convert = getattr(sys.modules[type(net).__module__], "checkpoint_filter_fn", None)
    if convert is not None and set(strange) - set(head):
        state = convert(state, net)  # other libraries' formats, position embeddings of another size
    state = {name: t for name, t in state.items() if name in own or not harmless(name, tuple(t.shape))}
    both = [name for name in state if name in own]
    refuse_quantised(
        str(checkpoint.path),
        [n for n in both if own[n].is_floating_point() and not state[n].is_floating_point()],
    )
    return state, head


def set_weights(net: nn.Module, where: str, state: dict[str, Tensor]) -> None:
    """Set a network to tensors that are all of it and nothing else.

    Args:
        net: it.
        where: what they were read from, for messages.
        state: name -> tensor.

    Raises:
        UserError: one is missing, foreign, or of another shape.
    """
    from cl_forget.weights.keys import refuse_unless_whole

    own = net.state_dict()
    # Old files do not count BatchNorm's batches, and nothing depends on it.
    missing = [name for name in own if name not in state and not name.endswith("num_batches_tracked")]
    foreign = [name for name in state if name not in own]
    mis_shaped = [name for name in own if name in state and own[name].shape != state[name].shape]
    refuse_unless_whole(where, missing, foreign, mis_shaped)
    net.load_state_dict({**own, **state})


def _own_head(net: nn.Module, spec: str) -> str | None:
    """Path of the linear map that gives the network's logits; None where it has no head."""
    from cl_forget.models._heads import linear_head

    module: Any = net
    count = int(getattr(module, "num_classes", 0) or 0)
    return linear_head(net, count, spec) if count else None


def _own_classes(net: nn.Module) -> OwnClasses:
    module: Any = net
    count = int(getattr(module, "num_classes", 0) or 0)
    config: dict[str, Any] = getattr(module, "pretrained_cfg", {})
    names = config.get("label_names")
    if not names:
        return of_imagenet(count)
    listed = of_labels(names if isinstance(names, dict) else list(names), count)
    described = config.get("label_descriptions") or {}
    return OwnClasses([(*own, *([described[own[0]]] if own[0] in described else [])) for own in listed.names])


class _Timm:
    """Writes what `timm:local-dir:` and timm's own `create_model` load."""

    def save(self, net: nn.Module, folder: Path) -> list[Path]:
        """`config.json` and `model.safetensors`."""
        from timm.models._hub import save_config_for_hf

        from cl_forget.ground.tensors import save_tensors

        with whole(folder) as temporary:
            temporary.mkdir(parents=True)
            save_config_for_hf(net, str(temporary / "config.json"))
            save_tensors(temporary / "model.safetensors", net.state_dict())
            shutil.rmtree(folder, ignore_errors=True)
        return sorted(folder.iterdir())

    def load(self, net: nn.Module, folder: Path) -> None:
        """Set a network to what `save` has written."""
        from safetensors.torch import load_file

        net.load_state_dict(load_file(folder / "model.safetensors"))


def _why_not_loaded(what: str, error: Exception) -> str:
    if out_of_reach(error):
        return (
            f"the weights of 'timm:{what}' could not be downloaded ({type(error).__name__}); download them elsewhere "
            "and name the local file: timm:<architecture>/<path to checkpoint>, or write /none for random weights."
        )
    return f"'timm:{what}' cannot be loaded: {first_line(error)}. Check that it is a whole model of timm."
