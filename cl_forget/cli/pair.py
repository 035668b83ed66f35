"""What `audit` and `repair` ask for: two models, and the data to compare them on."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cl_forget.ground.errors import UserError

Base = Annotated[
    str | None,
    typer.Option(
        help="The model before fine-tuning: a name as in an experiment file, or a path [default: the run's own]."
    ),
]

Streams = Annotated[
    list[str] | None,
    typer.Option(
        "--stream",
        help="A task it was tuned for; repeatable. 'folder: {path: data/defects}' is your own data.",
    ),
]

Suites = Annotated[
    list[str] | None, typer.Option("--suite", help="What must not be lost; repeatable, written likewise.")
]

Limit = Annotated[int | None, typer.Option(help="Samples per data set at most [default: all].", min=1)]

BatchSize = Annotated[
    int | None, typer.Option(help="Samples per forward pass [default: the run's own, or 64].", min=1)
]

Text = Annotated[
    str | None,
    typer.Option(help="How a language model reads texts, as `text` of an experiment: '{max_length: 512}'."),
]

Tokenizer = Annotated[
    str | None,
    typer.Option(
        help="Whose tokenizer and chat template read the texts of all models, base or tuned [default: the base's, or "
        "the one with a chat template where only one has one]."
    ),
]


def text_options(given: str | None) -> Any:
    """`--text` as an experiment file's `text`."""
    if given is None:
        return None
    from pydantic import ValidationError

    from cl_forget.config.explaining import explain
    from cl_forget.models.options import TextOptions

    (fields,) = named([given])
    if not isinstance(fields, dict):
        raise UserError(f"--text is options with values, such as '{{max_length: 512}}', not {given!r}.")
    try:
        return TextOptions(**fields)
    except ValidationError as error:
        field, message = explain(error, TextOptions)
        raise UserError(f"--text: {field}: {message}") from None


def named(given: list[str] | None) -> list[Any]:
    """Streams or suites as an experiment file would say them: a name, or a name with options as YAML."""
    from cl_forget.ground.documents import parse_yaml

    cure = "write name, or 'name: {option: value}'."
    return [parse_yaml(text, f"'{text}'", cure).value for text in given or []]
