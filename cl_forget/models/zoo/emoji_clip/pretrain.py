"""The recipe of the two models: pre-training of a small CLIP on the embedded emoji pictures.

    cl-forget pretrain emoji-clip --output folder            # the shipped recipe
    cl-forget pretrain emoji-clip --output folder --quick    # the same path in under a minute, for tests

emoji-clip-rn comes first. Every seen concept has an anchor, a direction in the embedding space that is learnt with
the model and thrown away after training; each step classifies random views of pictures and, apart from them, random
captions among *all* anchors (`objectives.py`). Then emoji-clip, a vision transformer, is taught by it: it takes over
the text tower and imitates the answers to the same views. Views are augmented and mixed, matrices are trained by
Muon and the rest by AdamW, and the exported weights are an exponential moving average (`training.py`). Settings are
in `recipe.py`.
"""

import dataclasses
import functools
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cl_forget.ground.errors import UserError
from cl_forget.ground.files import write_bytes
from cl_forget.ground.progress import bar
from cl_forget.models.zoo.emoji_clip.captions import NAME_TEMPLATES, captions, train_tokenizer
from cl_forget.models.zoo.emoji_clip.recipe import RECIPES, Recipe, Tower
from cl_forget.models.zoo.emoji_clip.recipe import quick as quick_recipe
from cl_forget.models.zoo.emoji_clip.towers import build_model, export, normalised

if TYPE_CHECKING:
    from open_clip.model import CLIP
    from torch import Tensor

    from cl_forget.models.zoo.emoji_clip.training import Trainer
    from cl_forget.streams.emoji import EmojiSet


def zero_shot(
    model: "CLIP",
    tokenizer: Any,
    data: "EmojiSet",
    mask: "Tensor",
    best_of: int = 1,
    same: Callable[[str], str] = str,
) -> float:
    """Share of the pictures in `mask`, on white, whose concept is among the best matches of all seen concepts.

    Args:
        model: a CLIP of open_clip, left in evaluation mode.
        tokenizer: the model's tokenizer.
        data: the emoji pictures.
        mask: (N,) bool, pictures of seen concepts.
        best_of: how many matches count: 1 for top-1 accuracy.
        same: concepts count as one where it gives the same text for their names.
    """
    import torch

    from cl_forget.models.zoo.emoji_clip.training import labels_of

    names = [concept.name for concept in data.concepts if not concept.held_out]
    texts = [NAME_TEMPLATES[0].format(name) for name in names]
    images, device = data.on_background()[mask], model.logit_scale.device
    model.eval()
    with torch.inference_mode():
        classes = model.encode_text(tokenizer(texts).to(device), normalize=True)  # (seen concepts, embedding)
        parts = [
            model.encode_image(normalised(part.to(device) / 255), normalize=True) @ classes.T
            for part in images.split(512)
        ]
    best = torch.cat(parts).cpu().topk(best_of, dim=1).indices  # (pictures, best_of)
    kinds: dict[str, int] = {}
    kind = torch.tensor([kinds.setdefault(same(name), len(kinds)) for name in names])
    return (kind[best] == kind[labels_of(data)[mask]][:, None]).any(1).float().mean().item()


def all_scores(model: "CLIP", tokenizer: Any, data: "EmojiSet") -> dict[str, float]:
    """Zero-shot accuracy (0-1) among all seen concepts on held-out pairs and in each unseen style."""
    from cl_forget.streams.emoji import UNSEEN_STYLES

    masks = {"held_out_pair": data.held_out_pair}
    masks |= {style: data.unseen_style & data.in_style(style) for style in UNSEEN_STYLES}
    return {name: zero_shot(model, tokenizer, data, mask) for name, mask in masks.items()}


def _start(recipe: Recipe, output: Path, resume: bool) -> "tuple[Trainer, Any]":
    """A trainer, restored from the folder's checkpoint when asked to resume, and the tokenizer saved in the
    folder."""
    import open_clip
    import torch
    from safetensors.torch import load_file

    from cl_forget.models.zoo.emoji_clip.training import Trainer
    from cl_forget.streams.emoji import load

    data = load()
    output.mkdir(parents=True, exist_ok=True)
    settings = output / "recipe.json"
    checkpoint = output / "checkpoint.safetensors"
    if resume and not checkpoint.is_file():
        raise UserError(f"nothing to resume in {output}: start without `resume`")
    if resume and Recipe(**json.loads(settings.read_text())) != recipe:
        raise UserError(f"{settings} records other settings than those asked for: resume with the same ones")
    texts = [text for concept in data.concepts for kind in captions(concept) for text in kind]
    train_tokenizer(texts, output)
    write_bytes(settings, (json.dumps(dataclasses.asdict(recipe), indent=2) + "\n").encode())
    # A folder needs its config before open_clip can read the tokenizer from it.
    export(build_model(recipe.tower, recipe.seed), recipe.tower, output)
    tokenizer = open_clip.get_tokenizer(f"local-dir:{output}")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    trainer = Trainer(recipe, data, tokenizer, device)
    if resume:
        trainer.restore(load_file(checkpoint))
    return trainer, tokenizer


def pretrain_tower(
    tower: Tower,
    output: str | Path,
    epochs: int | None = None,
    resume: bool = False,
    seed: int = 0,
    threads: int | None = None,
    quick: bool = False,
    evaluate_every: int = 10,
    sam: float = 0.0,
    sam_share: float = 1.0,
) -> dict[str, float]:
    """Pre-train one of the two models and write it to a folder that open_clip loads.

    An accelerator is used where there is one. Progress is saved after every epoch; a run that was killed continues
    with `resume=True` to the same bits (on an accelerator to the same up to rounding). The result depends on the
    seed and on the machine's floating-point routines, not on the threads.

    Args:
        tower: "vit" for emoji-clip, "rn" for emoji-clip-rn.
        output: folder for the model; `local-dir:` of open_clip.
        epochs: passes over the pictures; None for the recipe's own number.
        resume: continue from the folder's last checkpoint.
        seed: of all randomness.
        threads: of the processor to use; None for one per core. The result is the same.
        quick: a tiny number of steps, to try the path; the model will know next to nothing.
        evaluate_every: epochs between two lines of scores in `log.jsonl`.
        sam: ρ of SAM, twice the time a step; 0 for none. On processors only.
        sam_share: share of the epochs, the last ones, that are trained with it.

    Returns:
        Zero-shot accuracy (0-1) among all seen concepts: "held_out_pair", and by unseen style.

    Raises:
        UserError: when there is nothing to resume, or the folder was made with other settings.
    """
    recipe = quick_recipe(RECIPES[tower]) if quick else RECIPES[tower]
    recipe = dataclasses.replace(
        recipe, seed=seed, epochs=epochs or recipe.epochs, sam=sam, sam_share=sam_share
    )
    return train(recipe, Path(output), resume, threads, evaluate_every)


#: As `pretrain_tower`, for emoji-clip.
pretrain = functools.partial(pretrain_tower, "vit")


def train(
    recipe: Recipe,
    folder: Path,
    resume: bool = False,
    threads: int | None = None,
    evaluate_every: int = 10,
    save_every: int = 1,
) -> dict[str, float]:
    """Pre-train by any recipe, with a checkpoint after every `save_every` epochs; the other arguments, the result
    and the errors are those of `pretrain_tower`."""
    from concurrent.futures import ThreadPoolExecutor

    import torch
    from safetensors.torch import save

    threads_before = torch.get_num_threads()
    torch.set_num_threads(1)  # each unit of work runs in one thread
    try:
        trainer, tokenizer = _start(recipe, folder, resume)
        scores: dict[str, float] = {}
        steps = recipe.epochs * trainer.steps_per_epoch
        done = trainer.epoch * trainer.steps_per_epoch
        with (
            bar("emoji-clip", steps, "steps", done) as advance,
            ThreadPoolExecutor(threads or os.cpu_count()) as pool,
        ):
            while trainer.epoch < recipe.epochs:
                losses: list[Tensor] = []
                for loss in trainer.run_epoch(pool):
                    losses.append(loss)
                    advance(1, "")
                mean = torch.stack(losses).mean().item()
                advance(0, f"loss {mean:.2f}", loss=mean)
                line: dict[str, float] = {"epoch": trainer.epoch, "loss": mean}
                last = trainer.epoch == recipe.epochs
                measured = trainer.epoch % evaluate_every == 0 or last
                if measured:
                    trainer.settle()
                if trainer.epoch % save_every == 0 or last:
                    write_bytes(folder / "checkpoint.safetensors", save(trainer.state()))
                if measured:
                    export(trainer.average, recipe.tower, folder)
                    scores = all_scores(trainer.average, tokenizer, trainer.data)
                    line |= scores
                with (folder / "log.jsonl").open("a") as log:
                    log.write(json.dumps(line) + "\n")
        return scores
    finally:
        torch.set_num_threads(threads_before)
