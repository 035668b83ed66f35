"""Small worlds to try a method in: a CLIP model and a language model with random but fixed weights, and their tasks.

The models are open_clip's and transformers' own classes, so that every code path is the one that large models take;
a task trains in a tenth of a second.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from cl_forget.models import MODELS
from cl_forget.models.base import FoundationModel
from cl_forget.models.causal_lm import CausalLM
from cl_forget.models.clip import ClipModel
from cl_forget.models.options import TextOptions
from cl_forget.streams import STREAMS, SUITES, Experience, TextData, text_experience
from cl_forget.streams.base import ImageData, LabelSpace

MODELS.add("tiny-clip", "cl_forget.testing.worlds:tiny_clip")
MODELS.add("tiny-lm", "cl_forget.testing.worlds:tiny_lm")
STREAMS.add("squares", "cl_forget.testing.worlds:squares")
STREAMS.add("colour-probe", "cl_forget.testing.worlds:colour_probe")
STREAMS.add("sums", "cl_forget.testing.worlds:sums")
SUITES.add("colours", "cl_forget.testing.worlds:colours")
SUITES.add("letters-copied", "cl_forget.testing.worlds:copies")

SIDE = 16
COLOURS = {"red": (200, 40, 40), "green": (40, 180, 60), "blue": (40, 60, 200), "grey": (128, 128, 128)}
CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789+-*=?.:<>|/ \n"
SPECIAL = ("<pad>", "<s>", "</s>", "<|user|>", "<|assistant|>")
TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@dataclass(frozen=True)
class World:
    """A model to fine-tune, and two tasks for it.

    Attributes:
        name: "vision" or "language".
        model: makes the model anew, the same one every time.
        tasks: what it is tuned on, one after the other.
    """

    name: str
    model: Callable[[], FoundationModel]
    tasks: tuple[Experience, ...]


def vision() -> World:
    """Squares of three colours, in double precision."""
    return World("vision", lambda: quick_clip().double(), tuple(squares(tasks=2)))


def language() -> World:
    """Sums of two digits."""
    return World(
        "language", lambda: tiny_lm(TextOptions(top_logits=8)).double(), tuple(sums(tasks=2, count=8))
    )


def tiny_clip() -> ClipModel:
    """open_clip's own CLIP class: two image blocks of width 32, one text block, random but fixed weights."""
    import open_clip
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
    from open_clip.transform import image_transform

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        clip = CLIP(
            embed_dim=16,
            vision_cfg=CLIPVisionCfg(layers=2, width=32, head_width=16, patch_size=8, image_size=SIDE),
            text_cfg=CLIPTextCfg(context_length=16, width=32, heads=2, layers=1),
        )
    model = ClipModel(
        clip, image_transform(SIDE, is_train=False), open_clip.get_tokenizer("ViT-B-32", context_length=16)
    )
    model.spec = "tiny-clip"
    return model


_made: list[ClipModel] = []


def quick_clip() -> ClipModel:
    """The tiny CLIP model, without reading the tokenizer's vocabulary again."""
    import copy

    if not _made:
        _made.append(tiny_clip())
    return copy.deepcopy(_made[0])


def images(classes: int, per_class: int, seed: int, darker: int = 0) -> ImageData:
    """Noisy squares, one colour a class."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), per_class)
    colours = np.array(list(COLOURS.values()))[:classes]
    noise = random.integers(-35, 35, (len(labels), 3, SIDE, SIDE))
    pixels = np.clip(colours[labels][:, :, None, None] + noise - darker, 0, 255).astype(np.uint8)
    return ImageData(labels, array=pixels)


def experience(name: str, seed: int, classes: int = 3, per_class: int = 8) -> Experience:
    """A task: name the colour."""
    labels = LabelSpace(name, tuple(COLOURS)[:classes], ("a {} square.",))
    return Experience(
        name,
        labels,
        train=images(classes, per_class, seed),
        validation=images(classes, 4, seed + 1),
        test=images(classes, 5, seed + 2),
        shifted={"darker": images(classes, 3, seed + 3, darker=40)},
    )


def squares(tasks: int = 3, per_class: int = 8) -> list[Experience]:
    """A stream of colour tasks."""
    return [experience(f"squares-{i + 1}", seed=100 * (i + 1), per_class=per_class) for i in range(tasks)]


def colours() -> Experience:
    """A generality suite: four colours, no training data of its own."""
    probe = experience("colours", seed=900, classes=4)
    return Experience("colours", probe.labels, None, probe.validation, probe.test)


def colour_probe() -> list[Experience]:
    """A task that is probed and never tuned on."""
    return [experience("colour-probe", seed=950, classes=4)]


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
    """The tiny language model of the registry."""
    model = CausalLM(llama(**more), tokenizer(chat), options)
    model.spec = "tiny-lm"
    return model


def texts(count: int, first: int = 0) -> TextData:
    """Sums whose answers have one or two digits, uneven in length."""
    pairs = [(i * 7 % 11 % 10, i * 5 % 13 % 10) for i in range(first, first + count)]
    return TextData(
        [str(a + b) for a, b in pairs], [f"{'what is ' * (i % 3)}{a}+{b}=" for i, (a, b) in enumerate(pairs)]
    )


def sum_task(name: str = "sums", first: int = 0, count: int = 12) -> Experience:
    """A task: add two digits."""
    return text_experience(name, texts(count, first), texts(6, first + 50), texts(7, first + 70))


def sums(tasks: int = 2, count: int = 12) -> list[Experience]:
    """A stream of sums."""
    return [sum_task(f"sums-{i + 1}", 20 * i, count) for i in range(tasks)]


def copies() -> Experience:
    """A generality suite: copy a word."""
    words = ["ab", "xyz", "q", "hello", "b a", "zz"]
    data = TextData(words, [f"copy {word}:" for word in words])
    return text_experience("letters-copied", None, data, data)
