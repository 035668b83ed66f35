"""A text task as a language model reads it, for the eyes of a person."""

from __future__ import annotations

from cl_forget.ground.errors import UserError
from cl_forget.models._chat import TODAY
from cl_forget.models._texts import TextFormat, TextTable
from cl_forget.streams.base import Experience
from cl_forget.streams.text import TextData

SHOWN = 180  # characters of a prompt or a target; the middle of a longer one is left out


def render_sample(form: TextFormat, experience: Experience) -> list[str]:
    """The first sample as it goes into a model: prompt and target with special tokens visible, and token counts.

    Reads every split on the way, since what a template refuses or what is too long must be found before training.

    Args:
        form: how the language model reads texts.
        experience: a text task or suite; of other data there is nothing to show.

    Raises:
        UserError: a sample that cannot be read; the message names the split.
    """
    tables = {}
    for split, data in experience.splits().items():
        if not isinstance(data, TextData):
            return []
        try:
            tables[split] = form.table(data)
        except UserError as error:
            raise UserError(f"experience '{experience.name}', {split}: {error}") from None
    split, table = next(iter(tables.items()))
    start = int(table.response[0])
    ids = table.sample(0).tolist()
    lines = [
        f"first prompt of {split} ({_tokens(start)}): {_visible(form, ids[:start])}",
        f"its target ({_tokens(len(ids) - start)}): {_visible(form, ids[start:])}",
        _lengths(tables, form.limit),
    ]
    return lines + _about_template(form, experience)


def _lengths(tables: dict[str, TextTable], limit: int | None) -> str:
    samples = sum(len(table) for table in tables.values())
    cut = sum(table.cut for table in tables.values())
    lengths = next(iter(tables.values())).lengths
    longest = max(int(table.lengths.max()) for table in tables.values())
    said = f"{int(lengths.median())} tokens in the median, {longest} at most"
    said += "" if limit is None else f", of {limit:,} that fit"
    return said + (
        f"; {cut:,} of {samples:,} samples truncated ({cut / samples:.1%})" if cut else "; none truncated"
    )


def _about_template(form: TextFormat, experience: Experience) -> list[str]:
    """What a chat template adds that nobody asked for."""
    data, template = experience.test, form.template
    assert isinstance(data, TextData)
    if template is None or not any(
        not isinstance(prompt, str) or (form.chat and prompt) for prompt in data.prompts
    ):
        return []
    lines = []
    if template.before.strip() and not data.join.reasoning:
        added = template.before.replace("\n", "\\n")
        lines.append(f"the chat template puts {added} before an answer: given to the model, not scored")
    if template.dated:
        lines.append(
            f"the chat template asks for today's date and is told {TODAY:%d %b %Y}, every day the same"
        )
    return lines


def _tokens(count: int) -> str:
    return f"{count:,} token{'' if count == 1 else 's'}"


def _visible(form: TextFormat, ids: list[int]) -> str:
    """Tokens as text, special ones included, on one line."""
    text = form.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    text = text.replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r")
    half = SHOWN // 2
    return text if len(text) <= SHOWN else f"{text[:half]} ... {text[-half:]}"
