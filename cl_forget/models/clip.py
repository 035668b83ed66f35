"""CLIP models of open_clip as foundation models.

Each task of a stream gets a linear head on the normalised image embedding, initialised with the zero-shot
classifier made from its class names (the `zs` initialisation of LDIFS and of WiSE-FT), so row 0 of every
matrix is the zero-shot accuracy. Plain fine-tuning updates the image tower and the head of the task; the
text tower stays. A suite has no head of its own: it is answered zero-shot, by the text tower as it stands.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cl_forget.ground.tensors import save_tensors
from cl_forget.models import _heads, _images
from cl_forget.models._heads import copy_linear, is_known, labels_of, linear, module_name
from cl_forget.models._images import ImagePreprocess, PreparedImages
from cl_forget.models._quiet import tokenized
from cl_forget.models.base import Batch, Forward, FoundationModel, Keep, evaluating, full_precision
from cl_forget.models.clip_folder import Origin, write_origin
from cl_forget.models.random_features import RandomFeatureHead, heads_of_any_kind
from cl_forget.streams.base import Data, Experience, ImageData, LabelSpace
from cl_forget.streams.understood import Seen
from cl_forget.weights.blocks import block_index, block_paths

WEIGHTS, HEADS = "open_clip_model.safetensors", _heads.HEADS


class ClipModel(FoundationModel):
    """An open_clip model with one linear head per task.

    Args:
        clip: any open_clip model with `visual`, `encode_text` and `logit_scale`.
        preprocess: open_clip's evaluation transform for it.
        tokenizer: texts -> (texts, context) int64.
    """

    zero_shot = True
    library = "clip"

    def __init__(self, clip: nn.Module, preprocess: Any, tokenizer: Callable[[list[str]], Tensor]) -> None:
        super().__init__()
        self.clip = clip
        self.heads = heads_of_any_kind()
        self.origin: Origin | None = None  # set by who loads it
        self._preprocess = ImagePreprocess(preprocess)
        self._tokenizer = tokenizer
        self._zero_shot: dict[tuple[Any, ...], nn.Linear] = {}
        self._label_spaces: dict[str, LabelSpace] = {}  # of each head, by module name
        self._hashed: tuple[Any, str] | None = None  # state of the text tower's memory -> hash of its content
        # Paths, not modules: torch would register the blocks a second time, under a second name.
        self._block_paths = block_paths(name for name, _ in clip.visual.named_parameters())  # type: ignore[union-attr]
        if self._is_resnet:
            self.depths = self.default_depths = tuple(self._block_paths)
        else:
            layers = len(self._block_paths)
            first = ("ln_pre" if hasattr(clip.visual, "ln_pre") else "embeddings",) if layers else ()
            self.depths = (*first, *(f"block {i + 1}" for i in range(layers)))
            quarters = sorted({round(layers * q / 4) for q in (1, 2, 3, 4)} - {0})
            self.default_depths = (*first, *(f"block {i}" for i in quarters))
        for parameter in self.parameters():
            parameter.requires_grad_(False)

    def __deepcopy__(self, memo: dict[int, Any]) -> ClipModel:
        # Tokenizer and preprocessing never change, and copying a vocabulary takes a second. Zero-shot heads are
        # known by the content of the text tower that made them, so that a twin may look there as well.
        memo.update({id(shared): shared for shared in (self._tokenizer, self._preprocess, self._zero_shot)})
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        twin.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return twin

    # -- data ------------------------------------------------------------------------------------------
    def prepare(
        self, data: Data, experience: Experience, split: str, augment: str = "none"
    ) -> PreparedImages:
        """Images at the model's resolution as uint8, normalised batch by batch."""
        return _images.prepare(data, experience, split, self._preprocess, augment, self)

    def see(self, experience: Experience) -> Seen:
        """Size, mode and mean of the first image after resizing and cropping, its prompt, and a thumbnail."""
        data = experience.test if experience.train is None else experience.train
        if not isinstance(data, ImageData):
            return Seen()
        prompt = _labels(experience).prompts(int(data.labels[0]))[0]
        return _images.seen(self._preprocess, experience, f'its class as a prompt: "{prompt}"')

    def memory_of(self, data: Data) -> int:
        """Bytes of the resized images, or nothing where there are too many to be kept."""
        return _images.memory_of(self._preprocess, data)

    # -- heads -----------------------------------------------------------------------------------------
    def add_task(self, experience: Experience) -> None:
        """Give the experience's label space a head, initialised zero-shot."""
        labels = _labels(experience)
        name = module_name(labels.head)
        if is_known(self.heads, name, experience, labels):
            return
        self.heads[name] = copy_linear(self.zero_shot_head(labels))
        self._label_spaces[name] = labels

    def add_random_features(self, experience: Experience, projection: Tensor) -> None:
        """Let the head of `experience` read `relu(P·φ)` beside the unit embedding φ."""
        name = module_name(_labels(experience).head)
        self.heads[name] = RandomFeatureHead(self.heads[name], projection)  # type: ignore[arg-type]

    def rebuild_heads(self) -> None:
        """Make every head anew from the text tower as it stands."""
        for name, labels in self._label_spaces.items():
            self.heads[name].load_state_dict(self.zero_shot_head(labels).state_dict())

    def zero_shot_head(self, labels: LabelSpace) -> nn.Linear:
        """The classifier the text tower makes from class names and templates.

        Weights are `exp(logit_scale) * normalise(mean of normalised prompt embeddings)`, the bias is 0 (or
        the model's own logit bias); memoised, for copies of this model too, until the text tower changes again.
        Those of the pre-trained model are kept for other processes (`keep`).
        """
        key = (labels.classes, self._text_fingerprint(), labels.wording, self.device)
        if key not in self._zero_shot:
            # The first ones are the pre-trained model's, which copies of it come back to.
            first = next(iter(self._zero_shot), key)[1]
            lasting = {key[1], first}
            for stale in [known for known in self._zero_shot if known[1] not in lasting]:
                del self._zero_shot[stale]
            self._zero_shot[key] = self._make_zero_shot(labels, self.keep if key[1] == first else None)
        return self._zero_shot[key]

    def _make_zero_shot(self, labels: LabelSpace, keep: Keep | None) -> nn.Linear:
        clip: Any = self.clip

        def weights() -> Tensor:
            with torch.no_grad(), evaluating(self):
                return self._class_weights(labels)

        if keep is None:
            head = linear(weights())
        else:  # the device, because another one rounds differently; the modules, for what weights do not say
            device = self.device.type
            known = ("zero-shot head", self.spec, repr(clip), self._text_fingerprint(), repr(labels), device)
            head = linear(keep(known, weights).to(self.device))
        if getattr(clip, "logit_bias", None) is not None:
            with torch.no_grad():
                head.bias.fill_(float(clip.logit_bias))
        return head

    # -- the text tower --------------------------------------------------------------------------------
    def class_weights(self, experience: Experience) -> Tensor:
        """(classes, width) the zero-shot classifier's weights, with gradients into the text tower."""
        return self._class_weights(_labels(experience))

    def _class_weights(self, labels: LabelSpace) -> Tensor:
        prompts = [prompt for index in range(len(labels.classes)) for prompt in labels.prompts(index)]
        per_class = self._embed_texts(prompts).view(len(labels.classes), len(labels.templates), -1).mean(1)
        return nn.functional.normalize(per_class, dim=-1) * self._logit_scale()

    def caption_weights(self, experience: Experience, classes: Tensor, templates: Tensor) -> Tensor:
        """(captions, width) normalised caption embeddings times the logit scale; equal captions run once."""
        labels = _labels(experience)
        pairs = zip(classes.tolist(), templates.tolist(), strict=True)
        prompts = [labels.prompts(index)[template] for index, template in pairs]
        distinct = list(dict.fromkeys(prompts))
        rows = torch.tensor([distinct.index(prompt) for prompt in prompts], device=self.device)
        return self._embed_texts(distinct)[rows] * self._logit_scale()

    def text_parameters(self) -> list[str]:
        """Everything of the CLIP model outside the image tower that logits depend on (not CoCa's captioner)."""
        return [
            f"clip.{name}"
            for name, _ in self.clip.named_parameters()
            if not name.startswith(("visual.", "text_decoder.")) and name != "logit_bias"
        ]

    def _embed_texts(self, texts: list[str]) -> Tensor:
        clip: Any = self.clip
        parts = [texts[i : i + 256] for i in range(0, len(texts), 256)]
        return torch.cat(
            [
                clip.encode_text(tokenized(self._tokenizer, part).to(self.device), normalize=True)
                for part in parts
            ]
        )

    def _logit_scale(self) -> Tensor:
        clip: Any = self.clip
        return clip.logit_scale.exp()

    def train(self, mode: bool = True) -> ClipModel:
        """Training or evaluation mode; what is known of the weights is forgotten."""
        self._hashed = None
        super().train(mode)
        return self

    def _text_fingerprint(self) -> str:
        tower = [t for name, t in self.clip.state_dict().items() if not name.startswith("visual.")]
        # torch counts the changes of a tensor's memory, but not those by fused optimisers: between two changes
        # of mode the hash is that of the same count, in training it is always taken anew.
        versions = tuple((tensor.data_ptr(), tensor._version) for tensor in tower)
        if self.training or self._hashed is None or self._hashed[0] != versions:
            digest = hashlib.blake2b(digest_size=16)
            for tensor in tower:
                digest.update(tensor.detach().cpu().contiguous().view(-1).numpy().data)
            self._hashed = versions, digest.hexdigest()
        return self._hashed[1]

    def _head(self, experience: Experience) -> nn.Module:
        labels = _labels(experience)
        name = module_name(labels.head)
        return self.heads[name] if name in self.heads else self.zero_shot_head(labels)

    # -- forward ---------------------------------------------------------------------------------------
    def forward(self, batch: Batch, depths: Sequence[str] = (), embedding: Tensor | None = None) -> Forward:
        """Image tower (unless `embedding` is given) and the head of the batch's experience."""
        features: dict[str, Tensor] = {}
        if embedding is None:
            embedding, features = self.encode(batch.inputs, depths)
        if batch.headless:
            return Forward(embedding.new_empty(len(batch), 0), batch.targets, embedding, features)
        logits = self.head_logits(batch.samples.experience, embedding)
        return Forward(logits, batch.targets, embedding, features)

    def head_logits(self, experience: Experience, embedding: Tensor) -> Tensor:
        """(batch, classes) the experience's head, or its zero-shot classifier where it has none.

        Losses and divergences are taken of the logits, so that under autocast they are single precision from here.
        """
        return full_precision(self._head(experience)(nn.functional.normalize(embedding, dim=-1)))

    def encode(self, images: Tensor, depths: Sequence[str] = ()) -> tuple[Tensor, dict[str, Tensor]]:
        """The image tower's output (batch, width) and its features (batch, tokens, width) at `depths`."""
        visual: Any = self.clip.visual
        if not depths:
            return _embedding(visual(images)), {}
        return _encode_with_hooks(visual, images, {depth: self._module_at(depth) for depth in depths})

    def _module_at(self, depth: str) -> nn.Module:
        """The module whose output the features of a depth are; whose input, for "embeddings"."""
        visual: Any = self.clip.visual
        if self._is_resnet or depth == "ln_pre":
            return visual.get_submodule(depth)
        return visual.get_submodule(
            self._block_paths[0 if depth == "embeddings" else int(depth.split()[1]) - 1]
        )

    def checkpoint_activations(self, on: bool) -> None:
        """In both towers, as open_clip does it."""
        clip: Any = self.clip
        clip.set_grad_checkpointing(on)

    # -- files -----------------------------------------------------------------------------------------
    def export(self, folder: Path) -> list[Path]:
        """A folder that open_clip loads, and the tasks' heads in `heads.safetensors`.

        Use the model again as `open_clip:local-dir:<folder>`; one that was made by hand has no configuration
        there, and is used as `open_clip:<architecture>/<folder>/open_clip_model.safetensors`.
        """
        model, heads = folder / WEIGHTS, folder / HEADS
        save_tensors(model, self.clip.state_dict())
        self.export_heads(folder)
        return [model, heads, *(write_origin(self.origin, folder) if self.origin is not None else ())]

    def export_heads(self, folder: Path) -> None:
        """`heads.safetensors`."""
        save_tensors(folder / HEADS, self.heads.state_dict())

    def load_exported(self, folder: Path) -> None:
        """Set the model to what `export` has written; the tasks' heads must be there."""
        from safetensors.torch import load_file

        self.clip.load_state_dict(load_file(folder / WEIGHTS))
        self.heads.load_state_dict(load_file(folder / HEADS))

    # -- parameters ------------------------------------------------------------------------------------
    def tunable(self, experience: Experience) -> list[str]:
        """The image tower and the head of the task."""
        tower = [f"clip.visual.{name}" for name, _ in self.clip.visual.named_parameters()]  # type: ignore[union-attr]
        return tower + self.head_parameters(experience)

    def head_parameters(self, experience: Experience) -> list[str]:
        """Weight and bias of the task's head."""
        name = module_name(_labels(experience).head)
        return [f"heads.{name}.weight", f"heads.{name}.bias"]

    def block_of(self, parameter: str) -> int | None:
        """Block of the image tower, 0 = the first."""
        known = self._block_paths and parameter.startswith("clip.visual.")
        return block_index(parameter) if known else None

    def layer_of(self, parameter: str) -> int:
        """As in the base; what is outside the image tower counts as after its blocks."""
        return super().layer_of(parameter) if parameter.startswith("clip.visual.") else self.blocks + 1

    @property
    def blocks(self) -> int:
        """Number of blocks of the image tower."""
        return len(self._block_paths)

    @property
    def _is_resnet(self) -> bool:
        return bool(self._block_paths) and self._block_paths[0] == "layer1"


def _encode_with_hooks(
    visual: Any, images: Tensor, modules: dict[str, nn.Module]
) -> tuple[Tensor, dict[str, Tensor]]:
    """One pass; feature maps become (batch, positions, channels), and a class token comes first.

    The features are what the modules give. open_clip's `forward_intermediates` cuts the class token off, and to put
    it back is a copy of all of them, in the forward and in the backward pass.
    """
    features: dict[str, Tensor] = {}
    # Between its first and its last block a transformer may have the tokens in front.
    tokens_first = not getattr(getattr(visual, "transformer", None), "batch_first", True)
    channels_last = getattr(getattr(visual, "trunk", None), "output_fmt", "NCHW") == "NHWC"  # Swin

    def tokens(out: Tensor) -> Tensor:
        if out.ndim == 3:
            return out
        return out.flatten(1, 2) if channels_last else out.flatten(2).transpose(1, 2)

    def turned(depth: str, out: Tensor) -> Tensor:
        return out.transpose(0, 1) if tokens_first and depth.startswith("block ") else out

    def hook(depth: str, module: nn.Module) -> Any:
        if depth == "embeddings":
            return module.register_forward_pre_hook(
                lambda _m, given: features.__setitem__(depth, tokens(given[0]))
            )
        return module.register_forward_hook(
            lambda _m, _i, out: features.__setitem__(depth, turned(depth, tokens(_embedding(out))))
        )

    hooks = [hook(depth, module) for depth, module in modules.items()]
    try:
        embedding = _embedding(visual(images))
    finally:
        for each in hooks:
            each.remove()
    return embedding, {depth: features[depth] for depth in modules}


def _embedding(out: Any) -> Tensor:
    """A tower's embedding; CoCa's comes with the tokens it was pooled from."""
    embedding: Tensor = out[0] if isinstance(out, tuple) else out
    return embedding


def _labels(experience: Experience) -> LabelSpace:
    return labels_of(experience, "CLIP needs them for its zero-shot head")
