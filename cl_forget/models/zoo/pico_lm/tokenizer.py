"""pico-lm's tokenizer: whole tokens for the words of questions and stories, letters for everything else.

A model that is asked to reverse a word has to see its letters, and a model that is asked for a sum has to see digits.
So the vocabulary holds the bytes and the frequent words, and nothing between: a word that is not in the vocabulary
falls apart into its letters.
"""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from cl_forget.streams.skills import prose, words
from cl_forget.streams.skills.formats import FORMATS
from cl_forget.streams.skills.known import SKILLS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PAD, START, END = "<pad>", "<s>", "</s>"
CONTEXT_LENGTH = 256

# A word with the space before it, a single figure, signs, or a single white space.
_PIECES = r" ?[A-Za-z]+|[0-9]| ?[^\sA-Za-z0-9]+|\s"

# A question is a line, the answer is the rest: "<s>What is 2+2?\n4</s>".
_CHAT = (
    "{% for message in messages %}{% if message['role'] == 'assistant' %}"
    "{{ message['content'] + eos_token }}{% else %}{{ bos_token + message['content'] + '\n' }}{% endif %}{% endfor %}"
)


def make_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer, the same one every time, as transformers saves and loads it."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    pieces = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    found = {piece for text in _texts() for piece, _ in pieces.pre_tokenize_str(text)}
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = [PAD, START, END, *letters, *sorted(found - set(letters))]
    tokenizer = Tokenizer(
        models.BPE(vocab={piece: i for i, piece in enumerate(vocabulary)}, merges=[], ignore_merges=True)
    )
    tokenizer.pre_tokenizer = pieces
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A", special_tokens=[(START, vocabulary.index(START))]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=CONTEXT_LENGTH,
        pad_token=PAD,
        bos_token=START,
        eos_token=END,
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = _CHAT
    return fast


def _texts() -> list[str]:
    """Texts whose words become tokens: what is the same in many questions, and stories."""
    phrasings = [phrasing for skill in SKILLS for form in skill.forms for phrasing in form.phrasings]
    texts = [phrasing.format("", "", "") for phrasing in phrasings]
    texts += [phrasing.format("") for phrasings, _ in FORMATS.values() for phrasing in phrasings]
    texts += [shape("") for _, shape in FORMATS.values()]
    numbers = [*words.UNITS, *words.TENS, "hundred", "and"]
    ordinals = ["first", "second", "third", "fourth", "fifth", "sixth"]
    units = ["km", "cm", "mm", "kg", "ml"]
    texts += [prefix + word for word in [*numbers, *words.MONTHS, *ordinals, *units] for prefix in ("", " ")]
    random = Random("vocabulary")
    return texts + [prose.story(random) for _ in range(500)]


def save_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """Write the tokenizer's files to a folder."""
    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(str(folder))
    return tokenizer
