"""What there is: models, streams, mitigations and suites, as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cl_forget.ground.errors import UserError
from cl_forget.ground.registry import Registry, closest

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pydantic.fields import FieldInfo
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

    from cl_forget.mitigations import Mitigation

KINDS = ("models", "streams", "mitigations", "suites")


def tables(what: str | None = None) -> list[RenderableType]:
    """One table per kind, or the one asked for, without importing a heavy package; or one entry with all its fields.

    Raises:
        UserError: there is no such kind, and nothing of that name.
    """
    from cl_forget.models import MODELS
    from cl_forget.streams import STREAMS, SUITES

    if what is not None and what not in KINDS:
        return _entry(what)
    makers = {
        "models": lambda: _described("Models", MODELS),
        "streams": lambda: _described("Streams", STREAMS),
        "mitigations": _mitigations,
        "suites": lambda: _described("Suites", SUITES),
    }
    return [make() for kind, make in makers.items() if what in (None, kind)]


def _entry(name: str) -> list[RenderableType]:
    """Everything of that name: a method with its fields and their ranges, a stream or suite with its options."""
    from cl_forget.mitigations import MITIGATIONS
    from cl_forget.models import MODELS
    from cl_forget.streams import STREAMS, SUITES

    found: list[RenderableType] = []
    if name in MITIGATIONS:
        found += _method_card(MITIGATIONS.get(name))
    for kind, registry in (("Stream", STREAMS), ("Suite", SUITES)):
        if name in registry:
            found += _source_card(kind, name, registry.get(name))
    if name in MODELS:
        found += [_headed(f"Model {name}", _idea(MODELS.get(name)))]
    if not found:
        known = [*KINDS, *MITIGATIONS, *STREAMS, *SUITES, *MODELS]
        raise UserError(
            f"nothing to list is called '{name}'.{closest(name, known)} Known: {', '.join(KINDS)}, and every name "
            "in their lists."
        )
    return found


def _idea(thing: object) -> str:
    """A docstring without its sections."""
    import inspect
    import re

    whole = inspect.cleandoc(thing.__doc__ or "")
    return re.split(r"\n\n(?:Args|Raises|Returns|Attributes):", whole)[0]


def _headed(title: str, text: str) -> RenderableType:
    from rich.text import Text

    return Text.assemble((title, "bold"), "\n\n", text, "\n")


def _method_card(method: type[Mitigation]) -> list[RenderableType]:
    """What a method is, and its fields as an experiment file takes them."""
    from cl_forget.cli.reference import field_rows

    grid = ", ".join(f"{value:g}" for value in method.grid)
    said = {
        "formula": method.formula,
        "knob": f"{method.knob}, grid {grid}" if method.knob else "none",
        "place": method.place,
        "cost": method.cost,
        "when": method.advice,
        "conflicts": _conflicts(method),
        "source": method.source,
    }
    lines = "\n".join(f"{name:<10} {text}" for name, text in said.items())
    head = _headed(f"{method.title} ({method.name})", f"{_idea(method)}\n\n{lines}".replace("`", ""))
    rows = list(field_rows(method, {}, undescribed="–"))
    if not rows:
        return [head]
    table = _table("Fields", "field", "what it takes", "default", "what it is")
    for row in rows:
        table.add_row(*(_bare(cell) for cell in row))
    return [head, table]


def _source_card(kind: str, name: str, function: Callable[..., Any]) -> list[RenderableType]:
    """What a stream or suite is, and its options."""
    from cl_forget.cli.reference import option_rows

    head = _headed(f"{kind} {name}", _idea(function).replace("`", ""))
    try:
        rows = list(option_rows(name, function))
    except LookupError:  # of somebody else, who has not described them
        return [head]
    if not rows:
        return [head]
    table = _table("Options", "option", "default", "what it is")
    for row in rows:
        table.add_row(*(_bare(cell) for cell in row))
    return [head, table]


def _bare(text: str) -> Text:
    """Without the signs of Markdown, and nothing in it taken for a tag of rich."""
    from rich.text import Text

    return Text(text.replace("`", ""))


def _table(title: str, *columns: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, title_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _described(title: str, registry: Registry) -> Table:
    table = _table(title, "name", "what it is")
    for name in registry:
        table.add_row(name, summary_line(registry.get(name)))
    return table


def _mitigations() -> Table:
    from cl_forget.mitigations import MITIGATIONS

    table = _table("Mitigations", "name", "what it is", "place", "knob", "grid")
    for name in MITIGATIONS:
        method = MITIGATIONS.get(name)
        grid = " ".join(f"{value:g}" for value in method.grid)
        table.add_row(name, method.title, method.place, method.knob or "-", grid or "-")
    return table


def summary_line(thing: object) -> str:
    """The first line of a docstring."""
    return ((thing.__doc__ or "").strip().splitlines() or [""])[0]


def flatness_table(measured: dict[str, dict[str, float | None]]) -> Table:
    """What `cl_forget.run.flatness.landscape` measured, before and after."""
    columns = list(next(iter(measured.values())))
    table = _table("Loss landscape", "model", *(column.replace("_", " ") for column in columns))
    for model, values in measured.items():
        table.add_row(
            "pre-trained" if model == "pretrained" else model,
            *("-" if values[c] is None else f"{values[c]:.4g}" for c in columns),
        )
    return table


def methods_page() -> str:
    """`docs/methods.md`: every mitigation, from its own class attributes and docstring."""
    from cl_forget.mitigations import MITIGATIONS, PLACES

    parts = [METHODS_HEAD]
    by_place = {place: [n for n in MITIGATIONS if MITIGATIONS.get(n).place == place] for place in PLACES}
    for place, names in by_place.items():
        parts.append(f"## {place.capitalize()}\n")
        parts += [_method(MITIGATIONS.get(name)) for name in names]
    return "\n".join(parts)


METHODS_HEAD = """\
# Methods

Every mitigation by the place of its main hook. This page is made from the code (`make docs`), and a test fails
when the two differ. θ0 is the pre-trained model, θ* a method's anchor, θ the model being tuned. *Cost* is what to
expect of a training step against a plain one; [what was measured](../benchmarks/README.md) is in one table.
In an experiment file a method is `name`, `{name: knob}` or `{name: {field: value}}`.
"""


def _method(method: type[Mitigation]) -> str:
    import inspect

    idea = inspect.cleandoc(method.__doc__ or "").split("\n\nAttributes:")[0]
    grid = ", ".join(f"{value:g}" for value in method.grid)
    said = _attributes(method)
    fields = [_field(name, field, said.get(name)) for name, field in method.model_fields.items()]
    lines = [
        f"### {method.title} (`{method.name}`)\n",
        f"{idea}\n",
        f"* **Formula**: {method.formula}",
        f"* **Knob**: `{method.knob}`, grid {grid}" if method.knob else "* **Knob**: none",
        f"* **Cost**: {method.cost}",
        f"* **When**: {method.advice}",
        f"* **Conflicts**: {_conflicts(method)}",
        f"* **Source**: {method.source}",
    ]
    if fields:
        lines += ["\n| field | default | what |", "|---|---|---|", *fields]
    return "\n".join(lines) + "\n"


def _attributes(method: type[Mitigation]) -> dict[str, str]:
    """What the docstring says of each field."""
    import inspect
    import re

    _, _, listed = inspect.cleandoc(method.__doc__ or "").partition("\n\nAttributes:\n")
    parts = re.split(r"^    (\w+): ", listed, flags=re.MULTILINE)[1:]
    return {name: " ".join(text.split()) for name, text in zip(parts[::2], parts[1::2], strict=True)}


def _field(name: str, field: FieldInfo, said: str | None) -> str:
    """A row of the table of fields: values as an experiment file writes them."""
    from typing import Literal, get_args, get_origin

    default = "required" if field.is_required() else f"`{_written(field.default)}`"
    what = (said or field.description or "").rstrip(".")
    choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
    if not all(f'"{choice}"' in what for choice in choices):
        what += " (" + " · ".join(f"`{choice}`" for choice in choices) + ")"
    what = what.replace("|", r"\|")
    return f"| `{name}` | {default} | {what} |"


def _written(value: object) -> str:
    import json

    return value if isinstance(value, str) and value.isprintable() else json.dumps(value)


def _conflicts(method: type[Mitigation]) -> str:
    """What it cannot be combined with, whichever of the two says so."""
    from cl_forget.mitigations import MITIGATIONS
    from cl_forget.mitigations.compatibility import CONSEQUENCES

    reasons: dict[str, list[str]] = {}
    for other in MITIGATIONS:
        reason = method.conflicts.get(other) or MITIGATIONS.get(other).conflicts.get(method.name)
        if reason:
            reasons.setdefault(reason, []).append(f"`{other}`")
    said = [f"{', '.join(others)} ({reason})" for reason, others in reasons.items()]
    said += [
        f"whatever else decides the {claim.value}" for claim in sorted(method.claims, key=lambda c: c.value)
    ]
    said += [consequence.excluded for claim, consequence in CONSEQUENCES.items() if claim in method.claims]
    said += [
        consequence.owners
        for claim, consequence in CONSEQUENCES.items()
        if consequence.owners and claim not in method.claims and consequence.excludes(method)
    ]
    return "; ".join(said) or "none"


if __name__ == "__main__":
    import sys
    from pathlib import Path

    Path(sys.argv[1]).write_text(methods_page())
