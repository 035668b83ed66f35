"""Image classifiers and bare image encoders, of timm and of transformers, as foundation models.

There is no text tower, so no head is made from class names. Each task of a stream gets a linear head on the
normalised embedding, which starts from a linear probe (`train.head: probe` is the only start there is); before that
it says nothing, and what it would be right about is missing in the rows. The head that the model was pre-trained with
is never trained. It answers suites whose classes are its own, and KL to base is taken over its classes, on whatever
pictures.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from cl_forget.ground.errors import UserError, first_line
from cl_forget.ground.tensors import save_tensors
from cl_forget.models import _images
from cl_forget.models._heads import HEADS, is_known, labels_of, linear, module_name
from cl_forget.models._images import PreparedImages, Preprocess
from cl_forget.models._own_classes import OwnClasses
from cl_forget.models._stages import blocks_of, tokens
from cl_forget.models.base import Batch, Forward, FoundationModel, full_precision
from cl_forget.models.random_features import RandomFeatureHead, heads_of_any_kind
from cl_forget.streams.base import OWN_ANSWERS, Data, Experience, ImageData, LabelSpace
from cl_forget.streams.understood import Seen

MODEL = "model"
"""The folder of an exported model, in its library's own format."""


class Library(Protocol):
    """How the library that a network comes from writes it, and reads it again."""

    def save(self, net: nn.Module, folder: Path) -> list[Path]:
        """Write configuration, preprocessing and weights into a folder of their own; returns the files."""

    def load(self, net: nn.Module, folder: Path) -> None:
        """Set a network to what `save` has written."""


class ImageClassifier(FoundationModel):
    """A network for images with one linear head per task.

    Args:
        net: (batch, 3, height, width) images -> (batch, classes) logits of its own head, or its embedding where it
            has no head.
        preprocess: how it wants its images.
        library: how it is written again.
        own_head: path of the linear map in `net` that its own logits come from; None where it has no head.
        own_classes: what those logits mean.
        spec: its name, for messages.

    Raises:
        UserError: it is no such network, as a trial pass shows.
    """

    library = "net"

    def __init__(
        self,
        net: nn.Module,
        preprocess: Preprocess,
        library: Library,
        own_head: str | None,
        own_classes: OwnClasses,
        spec: str,
    ) -> None:
        super().__init__()
        self.spec = spec
        self.net = net
        self.heads = heads_of_any_kind()
        self._library = library
        self._preprocess = preprocess
        self._own_head, self._own_classes = own_head, own_classes
        self.pretrained_head = own_head is not None
        self._own_rows: dict[LabelSpace, list[int] | None] = {}
        # Paths, not modules: torch would register the blocks a second time, under a second name.
        self._blocks = blocks_of(net)
        count = self.blocks
        first = ("embeddings",) if count else ()
        self.depths = (*first, *(f"block {i + 1}" for i in range(count)))
        quarters = sorted({round(count * q / 4) for q in (1, 2, 3, 4)} - {0})
        self.default_depths = (*first, *(f"block {i}" for i in quarters))
        for parameter in self.parameters():
            parameter.requires_grad_(False)
        self.eval()
        self.width, reached = self._try()
        order = [name for name, _ in net.named_parameters(prefix="net")]
        self._trunk = [name for name in order if name in reached]
        inside = [i for i, name in enumerate(order) if self.block_of(name) is not None]
        self._before = frozenset(order[: inside[0]] if inside else ())

    def __deepcopy__(self, memo: dict[int, Any]) -> ImageClassifier:
        # Preprocessing and class names never change.
        memo.update({id(shared): shared for shared in (self._preprocess, self._library, self._own_classes)})
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        twin.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return twin

    def extra_repr(self) -> str:
        """What frozen outputs depend on beside the weights: the classes of the model's own head."""
        return f"own classes {self._own_classes.key}"

    def _try(self) -> tuple[int, set[str]]:
        """One pass over a picture of noise: the embedding's width, and the parameters that it depends on."""
        image = torch.randn(1, 3, *self._preprocess.size, generator=torch.Generator().manual_seed(0))
        named = [(name, p) for name, p in self.net.named_parameters(prefix="net") if p.is_floating_point()]
        self.net.requires_grad_(True)
        try:
            embedding, features, out = self._run(image.to(named[0][1]), self.depths)
            grads = torch.autograd.grad(embedding.sum(), [p for _, p in named], allow_unused=True)
        except UserError:
            raise
        except Exception as error:
            raise UserError(
                f"'{self.spec}' does not take an image and give an embedding ({first_line(error)}); give an image "
                "classifier or image encoder."
            ) from error
        finally:
            self.net.requires_grad_(False)
        if embedding.ndim != 2 or any(f.ndim != 3 for f in features.values()):
            raise UserError(
                f"'{self.spec}' gives no single vector for an image (shape {tuple(embedding.shape)}); give an image "
                "classifier or image encoder that pools its features."
            )
        own = self.own_logits(embedding)
        if own is not None and (own.shape != out.shape or (own - out).abs().max() > 1e-3 * out.abs().max()):
            raise UserError(
                f"the head of '{self.spec}' is more than one linear map, which is not supported; give a model with a "
                "linear classifier, or one without a head."
            )
        if not embedding.isfinite().all():
            raise UserError(
                f"'{self.spec}' gives numbers that are not finite; its weights overflow or are damaged."
            )
        return embedding.shape[1], {
            name for (name, _), grad in zip(named, grads, strict=True) if grad is not None
        }

    # -- data ------------------------------------------------------------------------------------------
    def prepare(
        self, data: Data, experience: Experience, split: str, augment: str = "none"
    ) -> PreparedImages:
        """Images at the model's resolution as uint8, normalised batch by batch."""
        return _images.prepare(data, experience, split, self._preprocess, augment, self)

    def see(self, experience: Experience) -> Seen:
        """Size, mode and mean of the first image after resizing and cropping, its class, and a thumbnail."""
        data = experience.test if experience.train is None else experience.train
        if not isinstance(data, ImageData) or experience.labels is None:
            return Seen()
        name = experience.labels.classes[int(data.labels[0])]
        return _images.seen(self._preprocess, experience, f'its class: "{name}"')

    def memory_of(self, data: Data) -> int:
        """Bytes of the resized images, or nothing where there are too many to be kept."""
        return _images.memory_of(self._preprocess, data)

    # -- heads -----------------------------------------------------------------------------------------
    def add_task(self, experience: Experience) -> None:
        """Give the experience's label space a head that says nothing until it is fitted."""
        labels = _labels(experience)
        name = module_name(labels.head)
        if not is_known(self.heads, name, experience, labels):
            weight = next(self.net.parameters()).new_zeros(len(labels.classes), self.width)
            self.heads[name] = linear(weight)

    def add_random_features(self, experience: Experience, projection: Tensor) -> None:
        """Let the head of `experience` read `relu(P·φ)` beside the unit embedding φ."""
        name = module_name(_labels(experience).head)
        self.heads[name] = RandomFeatureHead(self.heads[name], projection)  # type: ignore[arg-type]

    def can_answer(self, experience: Experience) -> bool:
        """Whether the experience's head has been fitted, or its classes are the model's own."""
        labels = _labels(experience)
        name = module_name(labels.head)
        if name in self.heads:
            head = self.heads[name]
            return any(bool(parameter.any()) for parameter in head.parameters())
        return self._own_positions(experience) is not None

    def check_suite(self, experience: Experience) -> None:
        """Refuse a suite whose classes the model's own head does not know.

        Raises:
            UserError: says which class, or that there is no head.
        """
        labels = _labels(experience)
        if self._own_head is None:
            raise UserError(
                f"'{self.spec}' has no head of its own to answer suite '{experience.name}' with; list it under "
                "`probes` if it has training data."
            )
        if labels.head != OWN_ANSWERS:
            self._own_classes.positions(experience, self.spec)

    def _own_positions(self, experience: Experience) -> list[int] | None:
        """Outputs of the model's own head that an experience asks for; None where it has no say."""
        labels = _labels(experience)
        if labels not in self._own_rows:
            rows: list[int] | None = None
            if self._own_head is not None and labels.head == OWN_ANSWERS:
                rows = list(range(len(self._own()[0])))
            elif self._own_head is not None:
                with contextlib.suppress(UserError):
                    rows = self._own_classes.positions(experience, self.spec)
            self._own_rows[labels] = rows
        return self._own_rows[labels]

    def _own(self) -> tuple[Tensor, Tensor | None]:
        """Weight (classes, width) and bias of the head of pre-training, be it a convolution of one pixel."""
        assert self._own_head is not None
        head: Any = self.net.get_submodule(self._own_head)
        return head.weight.flatten(1), head.bias

    @property
    def own_head_parameters(self) -> tuple[str, ...]:
        """Weight and bias of the head of pre-training, as the network's library names them; empty without a head."""
        if self._own_head is None:
            return ()
        head = self.net.get_submodule(self._own_head)
        return tuple(f"{self._own_head}.{name}" for name, _ in head.named_parameters())

    @property
    def architecture(self) -> str | None:
        """What timm calls the network; None for one of another library."""
        config: dict[str, Any] = getattr(self.net, "pretrained_cfg", {})
        return config.get("architecture")

    def own_logits(self, embedding: Tensor) -> Tensor | None:
        """(batch, classes) what the head of pre-training says, over all of its classes; None without one."""
        if self._own_head is None:
            return None
        return full_precision(nn.functional.linear(embedding, *self._own()))

    # -- forward ---------------------------------------------------------------------------------------
    def forward(self, batch: Batch, depths: Sequence[str] = (), embedding: Tensor | None = None) -> Forward:
        """The network (unless `embedding` is given) and the head of the batch's experience."""
        features: dict[str, Tensor] = {}
        if embedding is None:
            embedding, features, _ = self._run(batch.inputs, depths)
        if batch.headless:
            return Forward(embedding.new_empty(len(batch), 0), batch.targets, embedding, features)
        logits = self.head_logits(batch.samples.experience, embedding)
        return Forward(logits, batch.targets, embedding, features)

    def head_logits(self, experience: Experience, embedding: Tensor) -> Tensor:
        """(batch, classes) the task's head, or those of the model's own logits that a suite asks for.

        Where there is neither, as for data that a probe is fitted on, all are zero. Losses and divergences are taken
        of the logits, so that under autocast they are single precision from here.
        """
        labels = _labels(experience)
        name = module_name(labels.head)
        if name in self.heads:
            return full_precision(self.heads[name](nn.functional.normalize(embedding, dim=-1)))
        positions, own = self._own_positions(experience), self.own_logits(embedding)
        if positions is None or own is None:
            return full_precision(embedding.new_zeros(len(embedding), len(labels.classes)))
        return own[:, positions]

    def _run(self, images: Tensor, depths: Sequence[str]) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """The embedding (batch, width), features (batch, tokens, channels) at `depths`, and the network's output."""
        features: dict[str, Tensor] = {}
        given: list[Tensor] = []
        channels_last = getattr(self.net, "output_fmt", "NCHW") == "NHWC"  # timm's Swin and its kin

        def keep(value: Any, depth: str) -> None:
            features[depth] = tokens(value, len(images), channels_last)

        hooks = []
        for depth in depths:
            first = depth == "embeddings"
            path = self._blocks.start if first else self._blocks.ends[int(depth.split()[1]) - 1]
            assert path is not None, "without blocks there are no depths"
            module = self.net.get_submodule(path)
            if first and not self._blocks.after_start:

                def before(_: nn.Module, args: Any, named: Any, depth: str = depth) -> None:
                    keep(args or (*named.values(),), depth)

                hooks.append(module.register_forward_pre_hook(before, with_kwargs=True))
            else:

                def after(_: nn.Module, args: Any, out: Any, depth: str = depth) -> None:
                    keep(out, depth)

                hooks.append(module.register_forward_hook(after))
        if self._own_head is not None:
            own = self.net.get_submodule(self._own_head)
            hooks.append(own.register_forward_pre_hook(lambda _, args: given.append(args[0].flatten(1))))
        try:
            out = _plain(self.net, self.net(images))
        finally:
            for each in hooks:
                each.remove()
        return given[-1] if given else out, {depth: features[depth] for depth in depths}, out

    def checkpoint_activations(self, on: bool) -> None:
        """As the network's own library does it.

        Raises:
            UserError: it cannot.
        """
        net: Any = self.net
        if hasattr(net, "set_grad_checkpointing"):
            net.set_grad_checkpointing(on)
        elif getattr(net, "supports_gradient_checkpointing", False):
            net.gradient_checkpointing_enable() if on else net.gradient_checkpointing_disable()
        else:
            super().checkpoint_activations(on)

    # -- files -----------------------------------------------------------------------------------------
    def export(self, folder: Path) -> list[Path]:
        """`model/` in the format that the network's library loads, and the tasks' heads in `heads.safetensors`.

        Use it again as `timm:local-dir:<folder>/model` or `hf-image:<folder>/model`.
        """
        written = self.save_net(folder / MODEL)
        self.export_heads(folder)
        return [*written, folder / HEADS]

    def save_net(self, folder: Path) -> list[Path]:
        """The network alone, as its library writes it."""
        return self._library.save(self.net, folder)

    def export_heads(self, folder: Path) -> None:
        """`heads.safetensors`."""
        save_tensors(folder / HEADS, self.heads.state_dict())

    def load_exported(self, folder: Path) -> None:
        """Set the model to what `export` has written; the tasks' heads must be there."""
        from safetensors.torch import load_file

        self._library.load(self.net, folder / MODEL)
        self.heads.load_state_dict(load_file(folder / HEADS))

    # -- parameters ------------------------------------------------------------------------------------
    def tunable(self, experience: Experience) -> list[str]:
        """What the embedding depends on, and the head of the task; the model's own head is never trained."""
        return [*self._trunk, *self.head_parameters(experience)]

    def head_parameters(self, experience: Experience) -> list[str]:
        """Weight and bias of the task's head."""
        name = module_name(_labels(experience).head)
        return [f"heads.{name}.weight", f"heads.{name}.bias"]

    def block_of(self, parameter: str) -> int | None:
        """Block or stage of the network, 0 = the first."""
        return self._blocks.of(parameter.removeprefix("net.")) if parameter.startswith("net.") else None

    def layer_of(self, parameter: str) -> int:
        """As in the base; what the network's definition has before its blocks counts as before them."""
        block = self.block_of(parameter)
        if block is not None:
            return block + 1
        return 0 if parameter in self._before else self.blocks + 1

    @property
    def blocks(self) -> int:
        """Number of blocks of the network."""
        return len(self._blocks.ends)


def _plain(net: nn.Module, out: Any) -> Tensor:
    """A network's output as one tensor: logits, or the embedding of a bare encoder of transformers."""
    if isinstance(out, Tensor):
        return out
    if isinstance(out, tuple):
        return _plain(net, out[0])
    if getattr(out, "logits", None) is not None:
        logits: Tensor = out.logits
        return logits
    pooled: Tensor | None = getattr(out, "pooler_output", None)
    if pooled is not None:
        return pooled.flatten(1)
    hidden: Tensor = out.last_hidden_state
    if hidden.ndim == 4:
        return hidden.mean((2, 3))
    has_class_token = any(name.endswith("cls_token") for name, _ in net.named_parameters())
    return hidden[:, 0] if has_class_token else hidden.mean(1)


def _labels(experience: Experience) -> LabelSpace:
    return labels_of(experience, "an image classifier needs them for its head")
