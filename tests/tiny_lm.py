"""A real Llama of transformers with random weights and a real tokenizer, small enough for a test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from cl_forget.models.causal_lm import CausalLM
from cl_forget.streams import SUITES, Experience, TextData, text_experience
from cl_forget.testing.worlds import (
    CHARACTERS,
    SPECIAL,
    TEMPLATE,
    copies,
    llama,
    sum_task,
    sums,
    texts,
    tiny_lm,
    tokenizer,
)

__all__ = [
    "CHARACTERS",
    "SPECIAL",
    "TEMPLATE",
    "copies",
    "llama",
    "sum_task",
    "sums",
    "texts",
    "tiny_lm",
    "tokenizer",
]

SUITES.add("odd-one", "tiny_lm:odd_one")
SUITES.add("rhyme", "tiny_lm:rhyme")


ARCHITECTURES: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 32, "n_head": 4, "n_layer": 2, "n_positions": 64},
    "gpt_neox": {},
    "opt": {"ffn_dim": 48, "word_embed_proj_dim": 32},
    "qwen3": {"num_key_value_heads": 2, "head_dim": 8},
    "gemma2": {"num_key_value_heads": 2, "head_dim": 8},
    "gemma3_text": {"num_key_value_heads": 2, "head_dim": 8, "sliding_window": 16},
    "bloom": {"n_layer": 2, "n_head": 4},
}


def other(kind: str) -> CausalLM:
    from transformers import AutoConfig, AutoModelForCausalLM

    shape = {"vocab_size": 54, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    shape |= {"num_attention_heads": 4, "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1}
    config = AutoConfig.for_model(kind, **{**shape, "eos_token_id": 2, **ARCHITECTURES[kind]})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return CausalLM(AutoModelForCausalLM.from_config(config), tokenizer())


SHAPE = {
    "vocab_size": 54, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1,
    "eos_token_id": 2,
}  # fmt: skip
MIXTURES: dict[str, dict[str, Any]] = {
    "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen3_moe": {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "head_dim": 8},
}


def mixture(kind: str, **more: Any) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **SHAPE | MIXTURES[kind] | more))


def folder(path: Path, chat: bool = False, **more: Any) -> Path:
    """The model as transformers saves it."""
    llama(**more).save_pretrained(path)
    tokenizer(chat).save_pretrained(path)
    return path


def odd_one() -> Experience:
    data = TextData(
        ["a", "bb", "c", "dd"], ["pick 1:", "pick 2:", "pick 3:", "pick 4:"],
        [["a", "bb"], ["a", "bb", "ccc"], ["c", "d"], ["xx", "dd"]],
    )  # fmt: skip
    return text_experience("odd-one", None, data, data, "multiple choice")


def rhyme() -> Experience:
    lines = ["the cat sat on the mat.", "a dog.", "one two three four five."]
    return text_experience("rhyme", None, TextData(lines), TextData(lines[::-1]), "perplexity")
