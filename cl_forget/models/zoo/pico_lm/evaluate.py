"""The scores on the model card of pico-lm, measured through transformers itself.

python -m cl_forget.models.zoo.pico_lm.evaluate            # the shipped model
python -m cl_forget.models.zoo.pico_lm.evaluate folder     # another folder of the same format
python -m cl_forget.models.zoo.pico_lm.evaluate --card     # and write the table of the model card
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cl_forget.models.zoo._pretraining import write_table
from cl_forget.models.zoo.pico_lm import FOLDER
from cl_forget.models.zoo.pico_lm.data import encode
from cl_forget.streams.skills.base import Skill
from cl_forget.streams.skills.formats import instructions
from cl_forget.streams.skills.known import SKILLS
from cl_forget.streams.skills.prose import stories

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

_ITEMS = 200  # test items of a skill


def answers(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, prompts: Sequence[str], longest: int = 40
) -> list[str]:
    """What the model answers to each prompt, decoded greedily in batches of prompts of equal length.

    Args:
        model: pico-lm, in any state of training.
        tokenizer: its tokenizer.
        prompts: questions.
        longest: tokens of an answer after which it is cut off.
    """
    import torch

    ids = [document[:question] for document, question in encode(tokenizer, [(p, "") for p in prompts])]
    by_length: dict[int, list[int]] = {}
    for place, question in enumerate(ids):
        by_length.setdefault(len(question), []).append(place)
    said = [""] * len(prompts)
    generate: Any = model.eval().generate
    for places in by_length.values():
        with torch.inference_mode():
            tokens = torch.tensor([ids[place] for place in places])
            out = generate(
                tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=longest, do_sample=False
            )
        texts = tokenizer.batch_decode(out[:, tokens.shape[1] :], skip_special_tokens=True)
        for place, text in zip(places, texts, strict=True):
            said[place] = text
    return said


def perplexity(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> float:
    """Of plain texts, per token, the end sign included."""
    import torch

    model.eval()
    total, count = 0.0, 0
    for tokens, _ in encode(tokenizer, [("", text) for text in texts]):
        row = torch.tensor([tokens])
        with torch.inference_mode():
            total += model(input_ids=row, labels=row).loss.item() * (len(tokens) - 1)
        count += len(tokens) - 1
    return math.exp(total / count)


def scores_of(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    split: str,
    items: int,
    skills: Sequence[Skill] = SKILLS,
) -> dict[str, float]:
    """Exact match by skill (0-1) and of "instructions", and the perplexity of "stories"."""
    asked = getattr(instructions(items), split)
    questions = {skill.name: skill.samples(split, items) for skill in skills}
    questions["instructions"] = list(zip(asked.prompts, asked.responses, strict=True))
    said = iter(answers(model, tokenizer, [prompt for pairs in questions.values() for prompt, _ in pairs]))
    scores = {
        name: sum(next(said) == answer for _, answer in pairs) / len(pairs)
        for name, pairs in questions.items()
    }
    return scores | {"stories": perplexity(model, tokenizer, getattr(stories(items), split).responses)}


def load(folder: Path = FOLDER) -> tuple[Any, Any]:
    """Model and tokenizer of a folder, as transformers loads them."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, use_safetensors=True)
    return model, AutoTokenizer.from_pretrained(folder)


def write_card(scores: dict[str, float], card: Path) -> None:
    """Replace the table of scores of a model card, between its two marks."""
    rows = [
        ("skill", "exact match"),
        *((name, f"{100 * score:.1f} %") for name, score in scores.items() if name != "stories"),
    ]
    rows.append(("stories", f"perplexity {scores['stories']:.2f}"))
    write_table(card, rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default=FOLDER)
    parser.add_argument("--card", action="store_true", help="write the scores into the folder's README.md")
    options = parser.parse_args()
    measured = scores_of(*load(options.folder), "test", _ITEMS)
    print(json.dumps({name: round(score, 4) for name, score in measured.items()}, indent=1))
    if options.card:
        write_card(measured, options.folder / "README.md")
