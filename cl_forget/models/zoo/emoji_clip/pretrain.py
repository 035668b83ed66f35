"""The recipe of emoji-clip: contrastive pre-training of a small CLIP on the embedded emoji pictures.

    cl-forget pretrain emoji-clip --output folder            # the shipped recipe
    cl-forget pretrain emoji-clip --output folder --quick    # the same path in under a minute, for tests

Every seen concept has an anchor, a direction in the embedding space that is learnt with the model and thrown away
after training. Each step classifies random views of pictures and, apart from them, random captions among *all*
anchors: the full contrast between 1,587 concepts at the price of two matrix products. After the first epochs,
captions are also pulled to their anchors by cosine, so that pictures find captions as well as anchors. Pictures
lose three quarters of their patches in all but the last epochs (FLIP, Li et al. 2212.00794), weight matrices are
trained by Muon and the rest by AdamW, and the exported weights are an exponential moving average.
"""

import json
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cl_forget.ground.errors import UserError
from cl_forget.ground.files import write_bytes
from cl_forget.ground.progress import bar
from cl_forget.models.zoo._pretraining import optimizer_tensors, restore_optimizers
from cl_forget.models.zoo.emoji_clip.captions import (
    CONTEXT_LENGTH,
    NAME_TEMPLATES,
    VOCABULARY,
    captions,
    train_tokenizer,
)

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    import torch
    from open_clip.model import CLIP
    from torch import Tensor

    from cl_forget.streams.emoji import Concept, EmojiSet

MEAN = STD = (0.5, 0.5, 0.5)

MODEL_CONFIG: dict[str, Any] = {
    "embed_dim": 128,
    "vision_cfg": {
        "image_size": 32,
        "patch_size": 4,
        "width": 128,
        "layers": 4,
        "head_width": 32,
        "mlp_ratio": 4.0,
        "pool_type": "avg",  # learns faster than a class token when pictures are few
    },
    "text_cfg": {
        "context_length": CONTEXT_LENGTH,
        "vocab_size": VOCABULARY,
        "hf_tokenizer_name": "emoji-clip",
        "width": 128,
        "heads": 4,
        "layers": 2,
    },
}


@dataclass(frozen=True)
class Recipe:
    """Settings of one pre-training run.

    Attributes:
        epochs: passes over the pre-training pictures.
        cool_down_epochs: the last epochs, in which the learning rate falls linearly to zero; it is constant
            before.
        whole_epochs: how many of the last epochs see whole pictures.
        easy_epochs: the first epochs, over which the views grow from nearly plain to their full strength.
        patch_dropout: share of patches dropped in all but the whole epochs.
        batch_size: pictures per step.
        captions_per_step: captions per step, before captions are pulled to anchors.
        pulled_captions_per_step: captions per step from then on.
        pull_from_epoch: first epoch that pulls captions to the anchors, which have to settle before.
        pull: weight of that.
        steps_per_epoch: 0 for all pictures, or an upper limit.
        learning_rate: of Muon and AdamW.
        warm_up_steps: first steps, over which the rate rises.
        weight_decay: decoupled, of matrices only.
        label_smoothing: share of the target spread over all concepts.
        average_decay: per step, of the moving average of the weights.
        seed: of initialisation, order, captions, views and dropped patches.
    """

    epochs: int = 110
    cool_down_epochs: int = 30
    whole_epochs: int = 12
    easy_epochs: int = 8
    patch_dropout: float = 0.75
    batch_size: int = 256
    captions_per_step: int = 64
    pulled_captions_per_step: int = 128
    pull_from_epoch: int = 28
    pull: float = 8.0
    steps_per_epoch: int = 0
    learning_rate: float = 3e-3
    warm_up_steps: int = 30
    weight_decay: float = 0.05
    label_smoothing: float = 0.1
    average_decay: float = 0.995
    seed: int = 0


QUICK = Recipe(
    epochs=2,
    cool_down_epochs=1,
    whole_epochs=1,
    easy_epochs=1,
    pull_from_epoch=0,
    batch_size=128,
    steps_per_epoch=6,
    warm_up_steps=2,
)

# Pictures per unit of parallel work. Units are fixed and their gradients added in order, so that the number
# of threads does not change a bit; and a thread that has to wait for a busy processor holds the others up
# once a step, not once an operation.
_UNIT = 64


class _Captions:
    """Tokenised captions of the seen concepts, to draw one at a time."""

    def __init__(self, concepts: "list[Concept]", tokenizer: Any) -> None:
        self.tokens = [[tokenizer(texts) for texts in captions(concept)] for concept in concepts]

    def draw(self, concepts: "Tensor", generator: "torch.Generator") -> "Tensor":
        """(concepts, context) tokens: half of the captions name the concept, half are looser."""
        import torch

        random = torch.rand(len(concepts), 2, generator=generator).tolist()
        rows = []
        for concept, (kind, place) in zip(concepts.tolist(), random, strict=True):
            choices = self.tokens[concept][kind >= 0.5]
            rows.append(choices[int(place * len(choices))])
        return torch.stack(rows)


def _build_model(seed: int) -> "CLIP":
    import torch
    from open_clip.model import CLIP

    from cl_forget.models.zoo.emoji_clip._initialise import initialise

    torch.manual_seed(seed)
    model = CLIP(**json.loads(json.dumps(MODEL_CONFIG)))  # a copy, since open_clip changes what it is given
    initialise(model.visual)
    return model


def _optimizers(model: "CLIP", anchors: "Tensor", recipe: Recipe) -> "list[torch.optim.Optimizer]":
    import torch

    from cl_forget.models.zoo.emoji_clip._muon import Muon

    matrices: list[Tensor] = []
    rest: list[Tensor] = [anchors]
    for name, parameter in model.named_parameters():
        (matrices if parameter.ndim == 2 and "resblocks" in name else rest).append(parameter)
    return [
        Muon(matrices, lr=recipe.learning_rate, weight_decay=recipe.weight_decay),
        torch.optim.AdamW(rest, lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.0),
    ]


class _Trainer:
    """Everything that changes during training, and the one step that changes it."""

    def __init__(self, recipe: Recipe, data: "EmojiSet", tokenizer: Any) -> None:
        import torch

        self.recipe, self.data = recipe, data
        concepts = [concept for concept in data.concepts if not concept.held_out]
        self.label = _labels(data)
        self.captions = _Captions(concepts, tokenizer)
        self.pictures = data.pretrain.nonzero().flatten()
        self.model = _build_model(recipe.seed)
        self.average = _build_model(recipe.seed)
        # (seen concepts, embedding): a direction for each concept, learnt with the model and thrown away
        # after training.
        self.anchors = torch.nn.Parameter(torch.randn(len(concepts), MODEL_CONFIG["embed_dim"]) * 0.05)
        self.optimizers = _optimizers(self.model, self.anchors, recipe)
        self.parameters = [*self.model.parameters(), self.anchors]
        full = math.ceil(len(self.pictures) / recipe.batch_size)
        self.steps_per_epoch = min(full, recipe.steps_per_epoch or full)
        self.epoch = 0

    def _rate(self, step: int) -> float:
        recipe = self.recipe
        left = (recipe.epochs * self.steps_per_epoch - step) / (
            recipe.cool_down_epochs * self.steps_per_epoch
        )
        return recipe.learning_rate * min(1.0, (step + 1) / recipe.warm_up_steps, left)

    def _loss(self, tower: str, inputs: "Tensor", labels: "Tensor") -> "Tensor":
        """Cross entropy of pictures or captions among all concepts' anchors, as a sum over the inputs.

        A caption may be nearest to its anchor and still be far from it, and a picture would then find the anchor but
        not the caption. So captions are also pulled to the anchors, by cosine.
        """
        import torch
        from torch.nn.functional import cross_entropy, normalize

        encode = self.model.encode_image if tower == "visual" else self.model.encode_text
        features, anchors = encode(inputs, normalize=True), normalize(self.anchors, dim=1)
        logits = self.model.logit_scale.exp() * features @ anchors.T
        loss = cross_entropy(logits, labels, label_smoothing=self.recipe.label_smoothing, reduction="sum")
        if tower == "text" and self.epoch >= self.recipe.pull_from_epoch:
            loss = loss + self.recipe.pull * (1 - (features * anchors.detach()[labels]).sum(1)).sum()
        return torch.as_tensor(loss)

    def _units(
        self, chosen: "Tensor", strength: float, generator: "torch.Generator"
    ) -> "list[tuple[Callable[[], Tensor], float]]":
        """The work of one step: functions that give a loss, each with its weight."""
        import torch

        from cl_forget.models.zoo.emoji_clip._patches import generator_of_thread
        from cl_forget.models.zoo.emoji_clip.augment import augment

        units: list[tuple[Callable[[], Tensor], float]] = []
        seed = int(torch.randint(2**31, (), generator=generator))
        for place, part in enumerate(chosen.split(_UNIT)):

            def picture_loss(part: "Tensor" = part, seed: int = seed + place) -> "Tensor":
                own = torch.Generator().manual_seed(seed)
                generator_of_thread.own = own
                views = augment(self.data.images[part], own, strength)
                return self._loss("visual", _normalised(views), self.label[part])

            units.append((picture_loss, 1 / len(chosen)))
        pulled = self.epoch >= self.recipe.pull_from_epoch
        captions = self.recipe.pulled_captions_per_step if pulled else self.recipe.captions_per_step
        concepts = torch.randint(len(self.anchors), (captions,), generator=generator)
        tokens = self.captions.draw(concepts, generator)
        return [(lambda: self._loss("text", tokens, concepts), 0.5 / len(concepts)), *units]

    def _gradients(
        self, unit: "tuple[Callable[[], Tensor], float]"
    ) -> "tuple[float, tuple[Tensor | None, ...]]":
        import torch

        loss = unit[0]() * unit[1]
        return loss.item(), torch.autograd.grad(loss, self.parameters, allow_unused=True)

    def run_epoch(self, threads: "ThreadPoolExecutor") -> Iterator[float]:
        """Train one epoch, giving the loss of each step. All randomness comes from (seed, epoch), so a
        resumed run repeats it."""
        import torch

        from cl_forget.models.zoo.emoji_clip._patches import KeepPatches

        recipe = self.recipe
        generator = torch.Generator().manual_seed(recipe.seed * 100_003 + self.epoch)
        whole = self.epoch >= recipe.epochs - recipe.whole_epochs
        strength = min(1.0, (self.epoch + 1) / recipe.easy_epochs)
        self.model.train()
        self.model.visual.patch_dropout = KeepPatches(1.0 if whole else 1 - recipe.patch_dropout)
        order = self.pictures[torch.randperm(len(self.pictures), generator=generator)]
        for batch in range(self.steps_per_epoch):
            step = self.epoch * self.steps_per_epoch + batch
            chosen = order[batch * recipe.batch_size : (batch + 1) * recipe.batch_size]
            done = list(threads.map(self._gradients, self._units(chosen, strength, generator)))
            for index, parameter in enumerate(self.parameters):
                parts = [gradients[index] for _, gradients in done]
                parameter.grad = sum(part for part in parts if part is not None)
            for optimizer in self.optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = self._rate(step)
                optimizer.step()
            self._after_step(step)
            yield sum(loss for loss, _ in done)
        self.epoch += 1

    def _after_step(self, step: int) -> None:
        import torch

        with torch.no_grad():
            self.model.logit_scale.clamp_(max=math.log(100))
            # Early on the average follows quickly, so that it does not remember the random start.
            decay = min(self.recipe.average_decay, (1 + step) / (10 + step))
            torch._foreach_lerp_(list(self.average.parameters()), list(self.model.parameters()), 1 - decay)

    def state(self) -> "dict[str, Tensor]":
        """Tensors from which `restore` continues to the same bits."""
        import torch

        tensors = {"anchors": self.anchors.detach(), "epoch": torch.tensor(self.epoch)}
        for prefix, module in (("model", self.model), ("average", self.average)):
            tensors |= {f"{prefix}.{name}": tensor for name, tensor in module.state_dict().items()}
        return tensors | optimizer_tensors(self.optimizers)

    def restore(self, tensors: "dict[str, Tensor]") -> None:
        """Continue from what `state` gave."""
        self.anchors.data.copy_(tensors["anchors"])
        self.epoch = int(tensors["epoch"])
        for prefix, module in (("model.", self.model), ("average.", self.average)):
            module.load_state_dict(
                {
                    name.removeprefix(prefix): value
                    for name, value in tensors.items()
                    if name.startswith(prefix)
                }
            )
        restore_optimizers(self.optimizers, tensors)


def export(model: "CLIP", folder: Path) -> None:
    """Write config and weights in open_clip's folder format. Weights are stored as float16; open_clip loads
    them into float32."""
    from safetensors.torch import save

    config = {
        "model_cfg": MODEL_CONFIG,
        "preprocess_cfg": {"mean": MEAN, "std": STD, "interpolation": "bicubic"},
    }
    write_bytes(folder / "open_clip_config.json", (json.dumps(config, indent=2) + "\n").encode())
    weights = {name: tensor.detach().half().contiguous() for name, tensor in model.state_dict().items()}
    write_bytes(folder / "open_clip_model.safetensors", save(weights))


def _labels(data: "EmojiSet") -> "Tensor":
    """(N,) place of each picture's concept among the seen concepts; meaningless for held-out concepts."""
    import torch

    seen = torch.tensor([not concept.held_out for concept in data.concepts])
    return (seen.cumsum(0) - 1)[data.concept]


def _normalised(pixels: "Tensor") -> "Tensor":
    """Pixels in [0, 1] to the model's input."""
    import torch

    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    return (pixels - mean) / std


def zero_shot(model: "CLIP", tokenizer: Any, data: "EmojiSet", mask: "Tensor", best_of: int = 1) -> float:
    """Share of the pictures in `mask`, on white, whose concept is among the best matches of all seen concepts.

    Args:
        model: a CLIP of open_clip, left in evaluation mode.
        tokenizer: the model's tokenizer.
        data: the emoji pictures.
        mask: (N,) bool, pictures of seen concepts.
        best_of: how many matches count: 1 for top-1 accuracy.
    """
    import torch

    names = [NAME_TEMPLATES[0].format(concept.name) for concept in data.concepts if not concept.held_out]
    images = _normalised(data.on_background()[mask] / 255)
    model.eval()
    with torch.inference_mode():
        texts = model.encode_text(tokenizer(names), normalize=True)  # (seen concepts, embedding)
        parts = [model.encode_image(part, normalize=True) @ texts.T for part in images.split(512)]
    best = torch.cat(parts).topk(best_of, dim=1).indices  # (pictures, best_of)
    return (best == _labels(data)[mask][:, None]).any(1).float().mean().item()


def _start(recipe: Recipe, output: Path, resume: bool) -> "tuple[_Trainer, Any]":
    """A trainer, restored from the folder's checkpoint when asked to resume, and the tokenizer saved in the
    folder."""
    import open_clip
    from safetensors.torch import load_file

    from cl_forget.streams.emoji import load

    data = load()
    output.mkdir(parents=True, exist_ok=True)
    settings = output / "recipe.json"
    checkpoint = output / "checkpoint.safetensors"
    if resume and not checkpoint.is_file():
        raise UserError(f"nothing to resume in {output}: start without `resume`")
    if resume and json.loads(settings.read_text()) != asdict(recipe):
        raise UserError(f"{settings} records other settings than those asked for: resume with the same ones")
    texts = [text for concept in data.concepts for kind in captions(concept) for text in kind]
    train_tokenizer(texts, output)
    write_bytes(settings, (json.dumps(asdict(recipe), indent=2) + "\n").encode())
    # A folder needs its config before open_clip can read the tokenizer from it.
    export(_build_model(recipe.seed), output)
    tokenizer = open_clip.get_tokenizer(f"local-dir:{output}")
    trainer = _Trainer(recipe, data, tokenizer)
    if resume:
        trainer.restore(load_file(checkpoint))
    return trainer, tokenizer


def pretrain(
    output: str | Path,
    epochs: int | None = None,
    resume: bool = False,
    seed: int = 0,
    threads: int | None = None,
    quick: bool = False,
    evaluate_every: int = 10,
) -> dict[str, float]:
    """Pre-train emoji-clip and write it to a folder that open_clip loads.

    Progress is saved after every epoch; a run that was killed continues with `resume=True` to the same
    bits. The result depends on the seed and on the machine's floating-point routines, not on the threads.

    Args:
        output: folder for the model; `local-dir:` of open_clip.
        epochs: passes over the pictures; None for the recipe's own number.
        resume: continue from the folder's last checkpoint.
        seed: of all randomness.
        threads: of the processor to use; None for one per core. The result is the same.
        quick: a tiny number of steps, to try the path; the model will know next to nothing.
        evaluate_every: epochs between two lines of scores in `log.jsonl`.

    Returns:
        Zero-shot accuracy (0-1) among all seen concepts: "held_out_pair", and by unseen style.

    Raises:
        UserError: when there is nothing to resume, or the folder was made with other settings.
    """
    import dataclasses
    from concurrent.futures import ThreadPoolExecutor

    import torch
    from safetensors.torch import save

    recipe = dataclasses.replace(QUICK if quick else Recipe(), seed=seed)
    if epochs is not None:
        recipe = dataclasses.replace(recipe, epochs=epochs)
    folder = Path(output)
    threads_before = torch.get_num_threads()
    torch.set_num_threads(1)  # each unit of work runs in one thread
    try:
        trainer, tokenizer = _start(recipe, folder, resume)
        scores: dict[str, float] = {}
        steps = recipe.epochs * trainer.steps_per_epoch
        with bar("emoji-clip", steps) as advance, ThreadPoolExecutor(threads or os.cpu_count()) as pool:
            advance(trainer.epoch * trainer.steps_per_epoch, "")
            while trainer.epoch < recipe.epochs:
                losses = []
                for loss in trainer.run_epoch(pool):
                    losses.append(loss)
                    advance(1, f"loss {loss:.2f}")
                write_bytes(folder / "checkpoint.safetensors", save(trainer.state()))
                if trainer.epoch % evaluate_every == 0 or trainer.epoch == recipe.epochs:
                    export(trainer.average, folder)
                    scores = all_scores(trainer.average, tokenizer, trainer.data)
                line = {"epoch": trainer.epoch, "loss": sum(losses) / len(losses)}
                if trainer.epoch % evaluate_every == 0 or trainer.epoch == recipe.epochs:
                    line |= scores
                with (folder / "log.jsonl").open("a") as log:
                    log.write(json.dumps(line) + "\n")
        return scores
    finally:
        torch.set_num_threads(threads_before)


def all_scores(model: "CLIP", tokenizer: Any, data: "EmojiSet") -> dict[str, float]:
    """Zero-shot accuracy (0-1) among all seen concepts on held-out pairs and in each unseen style."""
    from cl_forget.streams.emoji import UNSEEN_STYLES

    masks = {"held_out_pair": data.held_out_pair}
    masks |= {style: data.unseen_style & data.in_style(style) for style in UNSEEN_STYLES}
    return {name: zero_shot(model, tokenizer, data, mask) for name, mask in masks.items()}
