"""The recipe of pico-lm: next-token training of a small Llama on exact-answer skills, instructions and stories.

    cl-forget pretrain pico-lm --output folder            # the shipped recipe
    cl-forget pretrain pico-lm --output folder --quick    # the same path in under a minute, for tests

Short documents are packed into rows, each sees itself alone. Questions are never repeated but for facts: they are
drawn afresh for every step from all that is not held out. Weight matrices are trained by Muon and the rest by AdamW,
both at a rate that is constant and falls linearly to zero over the last part.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from cl_forget.ground.errors import UserError
from cl_forget.ground.files import write_bytes
from cl_forget.ground.progress import bar
from cl_forget.models.zoo._pretraining import ascended, optimizer_tensors, restore_optimizers, sam_epochs
from cl_forget.models.zoo.pico_lm.data import Packed, batch
from cl_forget.models.zoo.pico_lm.tokenizer import CONTEXT_LENGTH, save_tokenizer

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast


@dataclass(frozen=True)
class Recipe:
    """Settings of one pre-training run.

    Attributes:
        epochs: how many times progress is saved.
        steps_per_epoch: steps between two savings.
        cool_down: share of the epochs, the last ones, over which the rate falls linearly to zero.
        warm_up_steps: first steps, over which it rises.
        rows: of a batch.
        row_length: tokens in a row.
        width, layers, heads, inner: of the Llama; `inner` is the width inside its feed-forward blocks.
        learning_rate: of Muon and AdamW.
        weight_decay: decoupled, of matrices only.
        bfloat16: whether matrix products run in that precision, twice as fast on a processor that has it.
        seed: of initial weights and data.
        sam: ρ of SAM; 0 for none.
        sam_share: share of the epochs, the last ones, that are trained with it.
    """

    epochs: int = 76
    steps_per_epoch: int = 50
    cool_down: float = 0.45
    warm_up_steps: int = 50
    rows: int = 48
    row_length: int = 64
    width: int = 192
    layers: int = 4
    heads: int = 6
    inner: int = 576
    learning_rate: float = 6e-3
    weight_decay: float = 0.05
    bfloat16: bool = True
    seed: int = 0
    sam: float = 0.0
    sam_share: float = 1.0

    @property
    def steady(self) -> float:
        """Epochs that do not depend on how many there are: before the rate falls and a late SAM begins."""
        late = self.sam_share if self.sam and self.sam_share < 1 else 0.0
        return self.epochs * (1 - max(self.cool_down, late))


QUICK = Recipe(epochs=2, steps_per_epoch=20, rows=2, warm_up_steps=2)


def model_config(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    """The architecture, in transformers' words."""
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=recipe.width,
        intermediate_size=recipe.inner,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.heads,
        max_position_embeddings=CONTEXT_LENGTH,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )


class _Trainer:
    """Everything that changes during training, and the one step that changes it."""

    def __init__(self, recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> None:
        import torch
        from transformers import LlamaForCausalLM

        from cl_forget.models.zoo.emoji_clip._muon import Muon

        self.recipe, self.tokenizer = recipe, tokenizer
        torch.manual_seed(recipe.seed)
        self.model: LlamaForCausalLM = LlamaForCausalLM(model_config(recipe, tokenizer))
        self.model.set_attn_implementation("eager")  # twice as fast as the fused one on rows this short
        matrices: list[Tensor] = []
        rest: list[Tensor] = []
        for name, parameter in self.model.named_parameters():
            (matrices if parameter.ndim == 2 and "layers" in name else rest).append(parameter)
        self.optimizers: list[torch.optim.Optimizer] = [
            Muon(
                matrices,
                lr=recipe.learning_rate,
                weight_decay=recipe.weight_decay,
                dtype=torch.bfloat16 if recipe.bfloat16 else torch.float32,
            ),
            torch.optim.AdamW(rest, lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.0),
        ]
        self.epoch = 0

    @property
    def steps(self) -> int:
        """Of the whole run."""
        return self.recipe.epochs * self.recipe.steps_per_epoch

    @property
    def done(self) -> int:
        """Steps so far, at the end of an epoch."""
        return self.epoch * self.recipe.steps_per_epoch

    def _rate(self, step: int) -> float:
        recipe = self.recipe
        left = (self.steps - step) / (recipe.cool_down * self.steps)
        return recipe.learning_rate * min(1.0, (step + 1) / recipe.warm_up_steps, left)

    def loss(self, packed: Packed) -> Tensor:
        """The weighted mean of the tokens' cross entropies."""
        import torch
        from torch.nn.functional import cross_entropy

        with torch.autocast("cpu", torch.bfloat16, enabled=self.recipe.bfloat16):
            hidden = self.model.model(
                input_ids=packed.tokens, attention_mask=packed.mask(), position_ids=packed.positions
            ).last_hidden_state[:, :-1]
            weights = packed.weights[:, 1:]
            chosen = weights > 0
            logits = self.model.lm_head(hidden[chosen])  # (targets, vocabulary)
        losses = cross_entropy(logits.float(), packed.tokens[:, 1:][chosen], reduction="none")
        return (losses * weights[chosen]).sum() / weights.sum()

    def run_epoch(self) -> Iterator[float]:
        """Train one epoch, giving the loss of each step. The data depend on (seed, step) alone, so a
        resumed run repeats them."""
        recipe = self.recipe
        self.model.train()
        for step in range(self.done, self.done + recipe.steps_per_epoch):
            random = Random(f"pico-lm/{recipe.seed}/{step}")
            packed = batch(self.tokenizer, recipe.rows, recipe.row_length, random)
            loss = self.loss(packed)
            loss.backward()
            if self.epoch in sam_epochs(recipe.epochs, recipe.sam, recipe.sam_share):
                with ascended(self.model.parameters(), recipe.sam):
                    self.model.zero_grad()
                    self.loss(packed).backward()
            for optimizer in self.optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = self._rate(step)
                optimizer.step()
                optimizer.zero_grad()
            yield loss.item()
        self.epoch += 1

    def state(self) -> dict[str, Tensor]:
        """Tensors from which `restore` continues to the same bits."""
        import torch

        tensors = {"epoch": torch.tensor(self.epoch)}
        tensors |= {f"model.{name}": p.detach() for name, p in self.model.named_parameters()}
        return tensors | optimizer_tensors(self.optimizers)

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Continue from what `state` gave."""
        self.epoch = int(tensors["epoch"])
        for name, parameter in self.model.named_parameters():
            parameter.data.copy_(tensors[f"model.{name}"])
        restore_optimizers(self.optimizers, tensors)


def export(model: LlamaForCausalLM, folder: Path) -> None:
    """Write configuration and weights in transformers' folder format, the weights as float16."""
    from safetensors.torch import save

    config = model.config.to_dict() | {"dtype": "float32", "architectures": ["LlamaForCausalLM"]}
    write_bytes(folder / "config.json", (json.dumps(config, indent=2, sort_keys=True) + "\n").encode())
    # The output layer is the token embedding, which is written once.
    weights = {name: tensor.detach().half().contiguous() for name, tensor in model.named_parameters()}
    write_bytes(folder / "model.safetensors", save(weights, metadata={"format": "pt"}))


def _start(recipe: Recipe, folder: Path, resume: bool) -> _Trainer:
    """A trainer, restored from the folder's checkpoint when asked to resume."""
    from safetensors.torch import load_file

    folder.mkdir(parents=True, exist_ok=True)
    settings, checkpoint = folder / "recipe.json", folder / "checkpoint.safetensors"
    if resume and not checkpoint.is_file():
        raise UserError(f"nothing to resume in {folder}: start without `resume`")
    trainer = _Trainer(recipe, save_tokenizer(folder))
    if resume:
        saved = Recipe(**json.loads(settings.read_text()))
        trainer.restore(load_file(checkpoint))
        # Until a rate has begun to fall, runs of every length are the same run.
        begun = trainer.epoch > min(r.steady for r in (saved, recipe))
        if saved != (recipe if begun else dataclasses.replace(recipe, epochs=saved.epochs)):
            raise UserError(
                f"{settings} records other settings than those asked for: resume with the same ones"
            )
    write_bytes(settings, (json.dumps(asdict(recipe), indent=2) + "\n").encode())
    return trainer


def pretrain(
    output: str | Path,
    epochs: int | None = None,
    resume: bool = False,
    seed: int = 0,
    threads: int | None = None,
    quick: bool = False,
    evaluate_every: int = 20,
    sam: float = 0.0,
    sam_share: float = 1.0,
) -> dict[str, float]:
    """Pre-train pico-lm and write it to a folder that transformers loads.

    Progress is saved after every epoch of 50 steps; a run that was killed continues with `resume=True` to the
    same bits. The result depends on the seed, the threads and the machine's floating-point routines.

    Args:
        output: folder for the model.
        epochs: of 50 steps; None for the recipe's own number. A run may be resumed with another number as
            long as its learning rate has not begun to fall.
        resume: continue from the folder's last checkpoint.
        seed: of all randomness.
        threads: of the processor to use; None for PyTorch's own choice.
        quick: a tiny number of steps, to try the path; the model will know next to nothing.
        evaluate_every: epochs between two lines of scores in `log.jsonl`.
        sam: ρ of SAM, twice the time a step; 0 for none (arXiv:2605.02105).
        sam_share: share of the epochs, the last ones, that are trained with it.

    Returns:
        Exact match (0-1) on a few validation items of each skill and of instructions, and the perplexity of
        stories.

    Raises:
        UserError: when there is nothing to resume, or the folder was made with other settings.
    """
    import torch
    from safetensors.torch import save

    from cl_forget.models.zoo.pico_lm.evaluate import scores_of

    recipe = dataclasses.replace(QUICK if quick else Recipe(), seed=seed, sam=sam, sam_share=sam_share)
    if epochs is not None:
        recipe = dataclasses.replace(recipe, epochs=epochs)
    folder = Path(output)
    threads_before = torch.get_num_threads()
    torch.set_num_threads(threads or threads_before)
    scores: dict[str, float] = {}
    try:
        trainer = _start(recipe, folder, resume)
        with bar("pico-lm", trainer.steps, "steps", trainer.done) as advance:
            while trainer.epoch < recipe.epochs:
                losses = []
                for loss in trainer.run_epoch():
                    losses.append(loss)
                    advance(1, f"loss {loss:.3f}", loss=loss)
                write_bytes(folder / "checkpoint.safetensors", save(trainer.state()))
                line = {"epoch": trainer.epoch, "loss": sum(losses) / len(losses)}
                if trainer.epoch % evaluate_every == 0 or trainer.epoch == recipe.epochs:
                    export(trainer.model, folder)
                    scores = scores_of(trainer.model, trainer.tokenizer, "validation", 4 if quick else 25)
                    line |= scores
                with (folder / "log.jsonl").open("a") as log:
                    log.write(json.dumps(line) + "\n")
        return scores
    finally:
        torch.set_num_threads(threads_before)
