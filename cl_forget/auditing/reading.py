"""Whose tokenizer reads the texts: a tuned language model may come with one of its own.

Base, tuned model and every mixture of both are measured on the same tokens, or no number of one could be held against
one of another. So one tokenizer reads for all of them, with its chat template and its special tokens:

* vocabularies that call one id by two tokens are refused: rows of the embedding would be compared that stand for
  different tokens;
* where both read alike, the base's reads;
* a chat template that only one of both has is used for all models, and that is said;
* where they read otherwise, the user chooses (`--tokenizer`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from cl_forget.ground.errors import UserError, first_line
from cl_forget.models._quiet import panics_are_errors, quiet_transformers
from cl_forget.models.causal_lm import CausalLM
from cl_forget.models.sources import trusts_code
from cl_forget.reporting.numbers import listed

Whose = Literal["base", "tuned"]

FILES = (
    "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json", "vocab.txt", "spiece.model",
    "tekken.json",
)  # fmt: skip
"""A folder with any of these has a tokenizer of its own."""
SPECIAL = ("bos_token", "eos_token", "pad_token")
PLAIN = "The café had 12 of 345 seats left,\n\tisn't that GOOD? 北京 😀  x_1 = f(y);"
"""Holds what tokenizers are known to cut differently: spaces, capitals, digits, accents, other scripts."""
TALKS: tuple[list[dict[str, str]], ...] = (
    [{"role": "user", "content": "a b"}],
    [{"role": "system", "content": "c"}, {"role": "user", "content": "a b"}],
    [
        {"role": "user", "content": "a b"},
        {"role": "assistant", "content": "d"},
        {"role": "user", "content": "e"},
    ],
)


@dataclass(frozen=True)
class Reading:
    """The tokenizer that reads for all models.

    Attributes:
        whose: its owner.
        tokenizer: it.
        said: what a reader of the numbers has to know of it, in sentences; empty where the models read alike.
    """

    whose: Whose
    tokenizer: Any
    said: tuple[str, ...] = ()


def check_whose(whose: str | None) -> None:
    """Refuse what `--tokenizer` does not take; raises `UserError`."""
    if whose is not None and whose not in get_args(Whose):
        raise UserError(f"--tokenizer: '{whose}' owns none: write {listed(get_args(Whose), 'or')}.")


def choose_reading(
    model: CausalLM,
    base: str,
    tuned: Sequence[Path],
    whose: str | None = None,
    like: Reading | None = None,
    plain: bool = False,
) -> Reading:
    """Which tokenizer reads, of the base's and those that lie beside the tuned models.

    Args:
        model: the base, with its own tokenizer.
        base: its name, for messages.
        tuned: where the tuned models lie; the last is the one that the base is compared with.
        whose: the user's choice; None where there is none.
        like: what reads already, where other models have been measured beside the same base.
        plain: whether prompts of plain text stay as they are (`text.chat` is false).

    Raises:
        UserError: a vocabulary is another than the base's; tokenizers read otherwise and nobody has chosen; or the
            choice is a tokenizer that is not there.
    """
    own = {path: _beside(path, model) for path in tuned}
    for path, tokenizer in own.items():
        if tokenizer is not None:
            _refuse_other_vocabulary(model.tokenizer, base, tokenizer, path)
    last = own[tuned[-1]]
    if like is None and whose == "tuned" and last is None:
        raise UserError(f"--tokenizer tuned: there is no tokenizer beside {tuned[-1]}; leave the option out.")
    chosen = like or _chosen(model.tokenizer, base, last, tuned[-1], whose)
    said = _template_said(chosen, model.tokenizer, last, base, tuned[-1], plain) if like is None else []
    for path, tokenizer in own.items():
        if tokenizer is None:
            continue
        if (like is not None or path != tuned[-1]) and _read(tokenizer) != _read(chosen.tokenizer):
            said.append(f"{path} has a tokenizer that reads otherwise; it is not used.")
        said += _details(chosen, model.tokenizer, base, tokenizer, path)
    return Reading(chosen.whose, chosen.tokenizer, tuple(dict.fromkeys(said)))


def _chosen(own: Any, base: str, last: Any | None, path: Path, whose: str | None) -> Reading:
    """The tokenizer by the user's choice, or by the rule above."""
    if last is None or whose == "base":
        return Reading("base", own)
    if whose == "tuned":
        return Reading("tuned", last)
    before, after = _read(own), _read(last)
    if before == after:
        return Reading("base", own)
    if before["text"] != after["text"]:
        what = f"the tokenizers of {base} and {path} cut texts otherwise"
    elif "chat" in before and "chat" in after:
        what = f"the chat templates of {base} and {path} differ"
    else:
        return Reading("tuned" if "chat" in after else "base", last if "chat" in after else own)
    raise UserError(
        f"{what}, and one has to read for both models: choose with --tokenizer base or --tokenizer tuned."
    )


def _beside(path: Path, model: CausalLM) -> Any | None:
    """The tokenizer in a model's folder, or beside its file; None where there is none."""
    folder = path if path.is_dir() else path.parent
    if not any((folder / name).is_file() for name in FILES):
        return None
    from transformers import AutoTokenizer

    with quiet_transformers():
        try:
            with panics_are_errors():
                # An adapter has no configuration of its own, and the kind of tokenizer depends on it.
                return AutoTokenizer.from_pretrained(
                    folder, config=model.lm.config, trust_remote_code=trusts_code()
                )
        except Exception as error:
            raise UserError(
                f"the tokenizer in {folder} cannot be read ({first_line(error)}), so that nobody can tell whether it "
                "is the base's; save it again, or take its files away."
            ) from error


def _refuse_other_vocabulary(own: Any, base: str, other: Any, path: Path) -> None:
    """Added tokens pass: whether there are rows for them, the shapes of the weights tell."""
    known = own.get_vocab()
    called = {number: token for token, number in known.items()}
    strange = [
        (number, token)
        for token, number in other.get_vocab().items()
        if called.get(number, token) != token or known.get(token, number) != number
    ]
    if not strange:
        return
    number, token = min(strange)
    here = f"{number} is {token!r} in {path} and "
    there = repr(called[number]) if number in called else f"no token, which has {known[token]} for it,"
    raise UserError(
        f"the vocabularies differ in {len(strange):,} tokens: id {here}{there} in {base}; weights are compared row "
        "by row, so bring the embedding of one model into the order of the other's tokens first, or name the base "
        "that was fine-tuned."
    )


def _read(tokenizer: Any) -> dict[str, list[Any]]:
    """What it makes of texts, and of conversations where it has a chat template."""
    found: dict[str, list[Any]] = {"text": list(tokenizer(PLAIN)["input_ids"])}
    if getattr(tokenizer, "chat_template", None):
        found["chat"] = [_rendered(tokenizer, turns, ask) for turns in TALKS for ask in (False, True)]
    return found


def _rendered(tokenizer: Any, turns: list[dict[str, str]], ask: bool) -> list[int] | None:
    """A conversation as token ids; None where the template refuses it."""
    try:
        text = str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=ask))
    except Exception:  # whatever a template raises
        return None
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _template_said(
    chosen: Reading, own: Any, last: Any | None, base: str, path: Path, plain: bool
) -> list[str]:
    """What has been decided of two ways of reading."""
    if last is None:
        return []
    before, after = _read(own), _read(last)
    if before == after:
        return []
    name = base if chosen.whose == "base" else str(path)
    if before["text"] != after["text"]:
        return [f"The two tokenizers cut texts otherwise: that of {name} reads for all models, as asked."]
    if "chat" in before and "chat" in after:
        return [f"The two chat templates differ: that of {name} is used for all models, as asked."]
    has, lacks = (str(path), base) if "chat" in after else (base, str(path))
    other = "base" if chosen.whose == "tuned" else "tuned"
    if has != name:
        return [f"Only {has} has a chat template: it is used for none, as asked."]
    if plain:
        return [f"Only {has} has a chat template; prompts given as messages alone are put into it, as asked."]
    return [
        f"Only {has} has a chat template, and the prompts of all models are put into it: {lacks} may not have been "
        f"trained on it and do worse than as it is used; `--tokenizer {other}` reads without it."
    ]


def _details(chosen: Reading, own: Any, base: str, other: Any, path: Path) -> list[str]:
    """Special tokens that differ, and tokens that the one which reads does not know."""
    said = []
    pairs = [(name, getattr(own, name, None), getattr(other, name, None)) for name in SPECIAL]
    differ = [f"{name} is {_token(one)} and {_token(two)}" for name, one, two in pairs if one != two]
    if differ:
        name = base if chosen.whose == "base" else "the tuned model"
        said.append(f"Special tokens differ ({base} and {path}): {listed(differ)}; those of {name} are used.")
    unknown = sorted(set(other.get_vocab()) - set(chosen.tokenizer.get_vocab()))
    if unknown:
        first = ", ".join(map(repr, unknown[:3])) + (", …" if len(unknown) > 3 else "")
        cure = "; `--tokenizer tuned` reads them as tokens" if chosen.whose == "base" else ""
        said.append(
            f"{path} has {len(unknown):,} tokens that the tokenizer which reads lacks ({first}): they are read as "
            f"plain text{cure}."
        )
    return said


def _token(token: Any) -> str:
    return "none" if token is None else repr(str(token))
