"""A real Llama of transformers with random weights and a real tokenizer, small enough for a test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from cl_forget.models import MODELS
from cl_forget.models.causal_lm import CausalLM
from cl_forget.models.options import TextOptions
from cl_forget.streams import STREAMS, SUITES, Experience, TextData, text_experience

MODELS.add("tiny-lm", "tiny_lm:tiny_lm")
STREAMS.add("sums", "tiny_lm:sums")
SUITES.add("letters-copied", "tiny_lm:copies")
SUITES.add("odd-one", "tiny_lm:odd_one")
SUITES.add("rhyme", "tiny_lm:rhyme")

CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789+-*=?.:<>|/ \n"
SPECIAL = ("<pad>", "<s>", "</s>", "<|user|>", "<|assistant|>")
TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def tokenizer(chat: bool = False, padding: bool = True, end: bool = True) -> Any:
    """One token a character; a start token before every text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    names = [*SPECIAL, *CHARACTERS]
    raw = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="?"))
    raw.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    raw.decoder = decoders.Fuse()
    raw.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    special: dict[str, Any] = {"bos_token": "<s>", "additional_special_tokens": list(SPECIAL[3:])}
    special |= {"pad_token": "<pad>"} if padding else {}
    special |= {"eos_token": "</s>"} if end else {}
    words = PreTrainedTokenizerFast(tokenizer_object=raw, **special)
    if chat:
        words.chat_template = TEMPLATE
    return words


def llama(tied: bool = True, context: int = 64, layers: int = 2, **more: Any) -> Any:
    """transformers' own LlamaForCausalLM; random but fixed weights, large enough to have opinions."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(SPECIAL) + len(CHARACTERS),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=context,
        tie_word_embeddings=tied,
        initializer_range=0.2,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        **more,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return LlamaForCausalLM(config).eval()


def tiny_lm(options: TextOptions | None = None, chat: bool = False, **more: Any) -> CausalLM:
    model = CausalLM(llama(**more), tokenizer(chat), options)
    model.spec = "tiny-lm"
    return model


ARCHITECTURES: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 32, "n_head": 4, "n_layer": 2, "n_positions": 64},
    "gpt_neox": {},
    "opt": {"ffn_dim": 48, "word_embed_proj_dim": 32},
    "qwen3": {"num_key_value_heads": 2, "head_dim": 8},
    "gemma2": {"num_key_value_heads": 2, "head_dim": 8},
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


def mixture(kind: str) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **SHAPE, **MIXTURES[kind]))


def folder(path: Path, chat: bool = False, **more: Any) -> Path:
    """The model as transformers saves it."""
    llama(**more).save_pretrained(path)
    tokenizer(chat).save_pretrained(path)
    return path


def texts(count: int, first: int = 0) -> TextData:
    """Sums whose answers have one or two digits, uneven in length."""
    pairs = [(i * 7 % 11 % 10, i * 5 % 13 % 10) for i in range(first, first + count)]
    return TextData(
        [str(a + b) for a, b in pairs], [f"{'what is ' * (i % 3)}{a}+{b}=" for i, (a, b) in enumerate(pairs)]
    )


def sum_task(name: str = "sums", first: int = 0, count: int = 12) -> Experience:
    return text_experience(name, texts(count, first), texts(6, first + 50), texts(7, first + 70))


def sums(tasks: int = 2, count: int = 12) -> list[Experience]:
    return [sum_task(f"sums-{i + 1}", 20 * i, count) for i in range(tasks)]


def copies() -> Experience:
    words = ["ab", "xyz", "q", "hello", "b a", "zz"]
    data = TextData(words, [f"copy {word}:" for word in words])
    return text_experience("letters-copied", None, data, data)


def odd_one() -> Experience:
    data = TextData(
        ["a", "bb", "c", "dd"], ["pick 1:", "pick 2:", "pick 3:", "pick 4:"],
        [["a", "bb"], ["a", "bb", "ccc"], ["c", "d"], ["xx", "dd"]],
    )  # fmt: skip
    return text_experience("odd-one", None, data, data, "multiple choice")


def rhyme() -> Experience:
    lines = ["the cat sat on the mat.", "a dog.", "one two three four five."]
    return text_experience("rhyme", None, TextData(lines), TextData(lines[::-1]), "perplexity")
