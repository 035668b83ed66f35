"""The reference of the files that users write, made from the typed models that read them.

python -m cl_forget.cli.reference docs/reference
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import BaseModel

Schema = dict[str, Any]

MADE = "This page is made from the code by `make docs`; a test fails when the two differ."


def pages() -> dict[str, str]:
    """Every page of the reference, file name -> Markdown."""
    return {
        "experiment.md": experiment_page(),
        "sweep.md": sweep_page(),
        "data.md": data_page(),
        "claims.md": claims_page(),
    }


def experiment_page() -> str:
    """Every field of an experiment file."""
    from cl_forget.config.experiment import Experiment

    return file_page(
        Experiment,
        "The experiment file",
        "What `cl-forget run FILE` and `cl_forget.load_experiment` read. Any field can be set on the command line "
        "by its dotted name (`train.lr=1e-4`, `methods.LDIFS.0.ldifs.strength=2`). A field that is not known, or a "
        "value out of its range, is refused with the file, the line and the nearest valid name.",
    )


def claims_page() -> str:
    """Every field of a file of claims."""
    from cl_forget.claims.claim import Claims

    return file_page(
        Claims,
        "The file of claims",
        "What `cl-forget claims FILE` reads; [how claims are settled](../claims.md) is another page. A world names a "
        "[sweep file](sweep.md).",
    )


def sweep_page() -> str:
    """Every field of a sweep file."""
    from cl_forget.config.sweep import Sweep

    trial = Sweep(model="any", stream="any", methods={"any": []}).run("any", {}, seed=0)
    return file_page(
        Sweep,
        "The sweep file",
        "What `cl-forget sweep FILE` and `cl_forget.load_sweep` read: an [experiment](experiment.md), and what to "
        "vary in it. [Sweeps](../sweeps.md) explains the modes and the protocol.",
        {type(trial.evaluate): trial.evaluate},
    )


def data_page() -> str:
    """Every stream and suite with its options."""
    from cl_forget.streams import STREAMS, SUITES

    parts = [
        "# Streams and suites, option by option\n",
        "What may stand under `stream:`, `suites:` and `probes:` of a file: a name, or `{name: {option: value}}`. "
        "A stream with a single task is a suite and a probe, too. "
        f"[Streams and suites](../streams.md) has pictures and sizes. {MADE}\n",
    ]
    for title, registry in (("Streams", STREAMS), ("Suites", SUITES)):
        parts.append(f"## {title}\n")
        built_in = [name for name in registry if name not in registry.additions]
        ours = [name for name in built_in if registry.get(name).__module__.startswith("cl_forget.")]
        parts += [_source(name, registry.get(name)) for name in ours]
    return "\n".join(parts)


# -- files ---------------------------------------------------------------------------------------------
def file_page(
    model: type[BaseModel],
    title: str,
    about: str,
    unset: Mapping[type[BaseModel], BaseModel] | None = None,
) -> str:
    """The fields of a file, then those of every section in it.

    Args:
        model: the file.
        title, about: of the page.
        unset: sections whose fields have other defaults in this file, with these.
    """
    definitions = model.model_json_schema().get("$defs", {})
    sections = {name: cls for cls in _sections(model) if (name := cls.__name__) in definitions}
    parts = [
        f"# {title}\n",
        f"{about}\n\n{MADE}\n",
        _table(model, sections),
        "\nA *method* is written `name`, `{name: knob}` or `{name: {field: value}}`: [methods](../methods.md) has "
        "every one with its fields. Streams, suites and probes are `name` or `{name: {option: value}}`: "
        "[streams and suites](data.md) has every option.\n",
    ]
    for name, cls in sections.items():
        parts += [f"## {name}\n", f"{_idea(cls)} Stands under {_holders(cls, model, sections)}.\n"]
        parts += [_table(cls, sections, (unset or {}).get(cls)), ""]
    return "\n".join(parts).rstrip() + "\n"


def _sections(model: type[BaseModel]) -> list[type[BaseModel]]:
    """The models that stand inside a model, methods left out, each once and in the order of the fields."""
    from cl_forget.mitigations import Mitigation

    found: list[type[BaseModel]] = []
    for field in model.model_fields.values():
        for cls in _models_in(field.annotation):
            if not issubclass(cls, Mitigation) and cls not in found:
                found += [cls, *(inner for inner in _sections(cls) if inner not in found)]
    return found


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    from typing import get_args

    from pydantic import BaseModel

    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)


def _holders(cls: type[BaseModel], file: type[BaseModel], sections: dict[str, type[BaseModel]]) -> str:
    """The fields that take a section."""
    holders = [
        f"`{name}`" if model is file else f"`{name}` of {model.__name__}"
        for model in (file, *sections.values())
        for name, field in model.model_fields.items()
        if cls in _models_in(field.annotation)
    ]
    return ", ".join(dict.fromkeys(holders))


def _idea(cls: type[BaseModel]) -> str:
    return inspect.cleandoc(cls.__doc__ or "").split("\n\nAttributes:")[0]


def _table(cls: type[BaseModel], sections: dict[str, type[BaseModel]], unset: BaseModel | None = None) -> str:
    """The table of a model's fields; `unset` has its defaults, where they are others.

    Raises:
        LookupError: a field that no docstring describes.
    """
    rows = ["| field | what it takes | default | meaning |", "|---|---|---|---|"]
    for name, takes, default, meaning in field_rows(cls, sections):
        rows.append(
            _row(f"`{name}`", takes, default if unset is None else _default(getattr(unset, name)), meaning)
        )
    return "\n".join(rows)


def field_rows(
    cls: type[BaseModel], sections: dict[str, type[BaseModel]], undescribed: str = ""
) -> Iterator[tuple[str, str, str, str]]:
    """Of each field of a model: its name, what it takes with its range, its default and what it means.

    Args:
        cls: the model.
        sections: the models that have a table of their own.
        undescribed: the meaning of a field that no docstring describes; empty to refuse it.

    Raises:
        LookupError: it is refused.
    """
    schema, said = cls.model_json_schema(), attributes(cls)
    for name, field in cls.model_fields.items():
        meaning = said.get(name) or field.description or undescribed
        if not meaning:
            raise LookupError(f"{cls.__name__}.{name} has no description in its docstring")
        takes = _takes(schema["properties"][name], sections)
        if field.is_required():
            default = "required"
        else:
            default = _default(field.get_default(call_default_factory=True, validated_data={}))
        yield name, takes, default, meaning


def _row(*cells: str) -> str:
    return "| " + " | ".join(_cell(text) for text in cells) + " |"


def _cell(text: str) -> str:
    """Text that neither ends its cell nor is taken for a tag of HTML; code between backticks stays as it is."""
    parts = text.replace("|", r"\|").split("`")
    return "`".join(part if place % 2 else part.replace("<", "&lt;") for place, part in enumerate(parts))


def attributes(cls: type) -> dict[str, str]:
    """What the docstrings of a class, and of those it inherits from, say of each field."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        found |= listed(base.__doc__, "Attributes")
    return found


def listed(doc: str | None, heading: str) -> dict[str, str]:
    """Name -> description in the section `heading` of a docstring; one line may describe several names."""
    section = re.search(rf"^{heading}:\n((?:    .*\n|\n)*)", inspect.cleandoc(doc or "") + "\n", re.MULTILINE)
    if section is None:
        return {}
    parts = re.split(r"^    (\w+(?:, \w+)*): ", section[1], flags=re.MULTILINE)[1:]
    return {
        name: " ".join(text.split())
        for names, text in zip(parts[::2], parts[1::2], strict=True)
        for name in names.split(", ")
    }


def _default(value: object) -> str:
    """A default as a file writes it; a section with nothing set is its own defaults."""
    from pydantic import BaseModel

    if isinstance(value, BaseModel):
        return "its defaults"
    return f"`{value}`" if isinstance(value, str) else f"`{json.dumps(value)}`"


NUMBERS = {"integer": "whole number", "number": "number"}
BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


def _takes(schema: Schema, sections: dict[str, type[BaseModel]]) -> str:
    """What a field takes, in words, from its JSON schema."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})" if name in sections else "method"
    for union in ("anyOf", "oneOf"):
        if union in schema:
            return " or ".join(dict.fromkeys(_takes(one, sections) for one in schema[union]))
    if "enum" in schema:
        return " · ".join(f"`{_plain(value)}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{_plain(schema['const'])}`"
    kind = schema.get("type")
    if kind in NUMBERS:
        bounds = [f"{sign} {schema[key]:,}" for key, sign in BOUNDS.items() if key in schema]
        return " ".join([NUMBERS[kind], ", ".join(bounds)]).strip()
    if kind == "array":
        inner = schema.get("prefixItems")
        if inner:
            return "[" + ", ".join(_takes(one, sections) for one in inner) + "]"
        return f"list of ({_takes(schema.get('items', {}), sections)})"
    if kind == "object":
        inner = schema.get("additionalProperties")
        return f"mapping of name to ({_takes(inner, sections)})" if isinstance(inner, dict) else "mapping"
    return {"string": "text", "boolean": "`true` · `false`", "null": "`null`"}.get(str(kind), "any value")


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


# -- data ----------------------------------------------------------------------------------------------
def _source(name: str, function: Callable[..., Any]) -> str:
    """One stream or suite: its idea and its options."""
    idea = re.split(r"\n\n(?:Args|Raises|Returns|Attributes):", inspect.cleandoc(function.__doc__ or ""))[0]
    rows = [_row(f"`{option}`", default, meaning) for option, default, meaning in option_rows(name, function)]
    return "\n".join(
        [f"### `{name}`\n", f"{idea}\n", "| option | default | meaning |", "|---|---|---|", *rows, ""]
    )


def option_rows(name: str, function: Callable[..., Any]) -> Iterator[tuple[str, str, str]]:
    """Of each option of a stream or suite: its name, its default and what it means.

    Raises:
        LookupError: an option that no docstring describes.
    """
    from pydantic import BaseModel

    parameters = inspect.signature(function, eval_str=True).parameters
    typed = next((parameter.annotation for parameter in parameters.values()), None)
    if isinstance(typed, type) and issubclass(typed, BaseModel):
        said = attributes(typed)
        fields = typed.model_fields.items()
        defaults = {field: inspect.Parameter.empty if f.is_required() else f.default for field, f in fields}
    else:
        said = listed(function.__doc__, "Args")
        defaults = {option: parameter.default for option, parameter in parameters.items()}
    for option, default in defaults.items():
        if option not in said:
            raise LookupError(f"{name}: option '{option}' is not described")
        plain = str(default) if isinstance(default, Path) else default
        yield option, "required" if plain is inspect.Parameter.empty else _default(plain), said[option]


if __name__ == "__main__":
    import sys

    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in pages().items():
        (folder / file).write_text(text)
