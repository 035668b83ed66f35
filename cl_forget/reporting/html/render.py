"""One self-contained page: the specification, plotly.js and a small script that draws the one with the other.

The page fetches nothing, works from a file, and is readable without JavaScript (tables, matrices and the
trade-off picture). What is drawn by script is drawn from the specification embedded in the page, which is
also what the CSV buttons write.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields, replace
from functools import cache
from importlib.resources import files
from itertools import groupby
from typing import TYPE_CHECKING, Any

from cl_forget.comparison.measures import Cell, Frame, Measure
from cl_forget.comparison.observations import lookup
from cl_forget.evaluation.formulas import SIGNS_TYPESET, formula_of
from cl_forget.ground.redact import redact
from cl_forget.reporting.html.mathml import mathml
from cl_forget.reporting.items import ItemPage, embedded, item_page
from cl_forget.reporting.numbers import LIMITS, MISSING, SUFFIX, number, scale, spread, with_interval
from cl_forget.reporting.panels import Panels
from cl_forget.reporting.specification import Figure, Method, RunRecord, Specification, Table
from cl_forget.reporting.tables import table_csv, table_latex
from cl_forget.reporting.verdict_strip import DEFINITION, strip
from cl_forget.streams.understood import Understood

if TYPE_CHECKING:
    from jinja2 import Environment

# Markers in a box from -10 to 10, by plotly name; chips and tables show the marker the figures use.
PATHS = {
    "circle": "M-8,0a8,8 0 1,0 16,0a8,8 0 1,0 -16,0Z",
    "square": "M-7,-7H7V7H-7Z",
    "diamond": "M0,-10L10,0L0,10L-10,0Z",
    "triangle-up": "M0,-9L9,7H-9Z",
    "triangle-down": "M0,9L9,-7H-9Z",
    "pentagon": "M0,-9L8.6,-2.8L5.3,7.3H-5.3L-8.6,-2.8Z",
    "hexagon": "M0,-9L7.8,-4.5V4.5L0,9L-7.8,4.5V-4.5Z",
    "cross": "M-3,-9H3V-3H9V3H3V9H-3V3H-9V-3H-3Z",
    "x": "M0,-4.2L4.7,-9L9,-4.7L4.2,0L9,4.7L4.7,9L0,4.2L-4.7,9L-9,4.7L-4.2,0L-9,-4.7L-4.7,-9Z",
    "triangle-left": "M-9,0L7,-9V9Z",
    "triangle-right": "M9,0L-7,-9V9Z",
    "bowtie": "M-8,-8V8L8,-8V8Z",
    "hourglass": "M-8,-8H8L-8,8H8Z",
    "hexagram": "M0,-10L2.9,-5H8.7L5.8,0L8.7,5H2.9L0,10L-2.9,5H-8.7L-5.8,0L-8.7,-5H-2.9Z",
    "star": "M0,-10L2.5,-3.4L9.5,-3.1L4,1.3L5.9,8.1L0,4.2L-5.9,8.1L-4,1.3L-9.5,-3.1L-2.5,-3.4Z",
}


def page(specification: Specification, picture: bytes | None = None, live: str | None = None) -> str:
    """The report as HTML.

    Args:
        specification: what to show.
        picture: the trade-off as PNG, for readers without JavaScript.
        live: the version of a page that is served and asks for newer ones; None for a page that stays.
    """
    from markupsafe import Markup

    own = files("cl_forget.reporting.html") / "page"
    # A served page asks for its items when they are first looked at, and gets all of them.
    items = None if live or specification.items is None else item_page(specification.items)
    return (
        environment()
        .get_template("page.html")
        .render(
            report=specification,
            many_seeds=any(len(method.seeds) > 1 for method in specification.methods),
            picture=base64.b64encode(picture).decode() if picture else None,
            live=live,
            typeset={
                **{sign: Markup(mathml(formula, block=False)) for sign, formula in SIGNS_TYPESET.items()},
                **{
                    measure.title: Markup(formula)
                    for measure in _measures(specification)
                    if (formula := _typeset(measure.name)) is not None
                },
            },
            contrast=_contrast(specification),
            notes=[run for run in specification.runs if run.note],
            strip=strip,
            strip_definition=DEFINITION,
            places={method.name: k for k, method in enumerate(specification.methods)},
            kind=_kind,
            thumbnail=_thumbnail,
            grid=_grid,
            number=number,
            spread=spread,
            with_interval=with_interval,
            suffix=SUFFIX,
            missing=MISSING,
            saves=_saves,
            knobbed=_knobbed,
            paths=PATHS,
            css=Markup((own / "page.css").read_text()),
            script=Markup(_script()),
            plotly=compressed(plotly()),
            payload=compressed(_payload(specification)),
            items=None if items is None else compressed(items_json(items)),
            sheets={} if items is None else {name: embedded(sheet) for name, sheet in items.sheets.items()},
        )
    )


def environment(*folders: str) -> Environment:
    """Where templates are found: in the folders given, then among those of the page."""
    import jinja2

    def source(name: str) -> str | None:
        places = [files("cl_forget.reporting.html") / folder / name for folder in (*folders, "page")]
        return next((place.read_text(encoding="utf-8") for place in places if place.is_file()), None)

    made = jinja2.Environment(
        loader=jinja2.FunctionLoader(source),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["groupby_order"] = _grouped
    return made


def plotly() -> str:
    """The text of plotly.js."""
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def units() -> dict[str, dict[str, Any]]:
    """How the script writes numbers of each unit, and between which bounds it draws them."""
    return {
        unit: {"scale": scale(unit), "suffix": suffix, "limits": LIMITS.get(unit, (None, None))}
        for unit, suffix in SUFFIX.items()
    }


def items_json(items: ItemPage, pictures: bool = False) -> str:
    """The items as the script reads them.

    Args:
        items: as `item_page` gives them.
        pictures: whether the pictures are part of it; else they stand in the page.
    """
    sheets = {name: embedded(sheet) for name, sheet in items.sheets.items()} if pictures else {}
    return json.dumps({**items.content, "sheets": sheets}, ensure_ascii=False, allow_nan=False)


def _thumbnail(record: Understood) -> str | None:
    """The picture of a sample as the page embeds it."""
    return None if record.thumbnail is None else base64.b64encode(record.thumbnail).decode()


def _measures(specification: Specification) -> Iterator[Measure]:
    for section in specification.sections:
        for item in section.items:
            yield from item.measures


@cache
def _typeset(measure: str) -> str | None:
    formula = formula_of(measure)
    return None if formula is None else mathml(formula)


def formulas(measures: Iterable[Measure]) -> dict[str, str]:
    """Measure -> its formula as MathML, of those that have one."""
    return {m.name: formula for m in measures if (formula := _typeset(m.name)) is not None}


def _contrast(specification: Specification) -> tuple[str, str] | None:
    """The two arms whose items are set side by side first: the control and the best other one; None without two."""
    kept = {run.method for run in specification.items.runs} if specification.items else set()
    arms = [method for method in specification.methods if method.name in kept]
    if len(arms) < 2:
        return None
    rows = specification.item("results").rows  # type: ignore[union-attr]

    def merit(method: Method) -> float:
        cells = (rows.get(method.name, {}).get(name) for name in ("speciality", "generality"))
        return sum(cell.mean or 0.0 for cell in cells if cell is not None)

    first = next((method for method in arms if method.role == "control"), arms[0])
    return first.name, max((method for method in arms if method is not first), key=merit).name


def _kind(item: Figure | Table) -> str:
    return "table" if isinstance(item, Table) else item.kind


def _saves(item: Figure | Table) -> tuple[str, ...]:
    """The formats an item can be saved in; what is read as a table is saved as one."""
    if isinstance(item, Panels) and not item.panels:
        return ()
    return ("csv",) if _kind(item) in ("table", "listing", "ledger") else ("csv", "svg", "png")


def _knobbed(figure: Figure) -> list[str]:
    """The methods that have settings to show along a knob."""
    columns = zip(figure.folded.get("method", []), figure.folded.get("setting", []), strict=True)
    return list(dict.fromkeys(method for method, setting in columns if setting is not None))


def _grouped(measures: Sequence[Measure], key: str) -> Iterable[dict[str, Any]]:
    """Neighbours of the same group, in order; jinja's own `groupby` would sort them."""
    for group, members in groupby(measures, key=lambda measure: getattr(measure, key)):
        yield {"grouper": group, "list": list(members)}


def _grid(figure: Figure, method: str) -> dict[tuple[str, str], Cell]:
    cells = lookup(figure.folded, "method", "row", "column")
    return {(row, column): cell for (name, row, column), cell in cells.items() if name == method}


def _script() -> str:
    """The files of the page's script in their order, as one closure."""
    parts = sorted(
        (
            file
            for file in (files("cl_forget.reporting.html") / "page").iterdir()
            if file.name.endswith(".js")
        ),
        key=lambda file: file.name,
    )
    return script_of("".join(part.read_text(encoding="utf-8") for part in parts))


def script_of(text: str) -> str:
    """A script as one closure that may wait."""
    return f'"use strict";\n(async () => {{\n{text}}})();\n'


def _payload(specification: Specification) -> str:
    """What the script draws from, as JSON."""
    items = [item for section in specification.sections for item in section.items]
    content = {
        "methods": [asdict(method) for method in specification.methods],
        "figures": {item.name: _packed(item) for item in items if isinstance(item, Figure)},
        "title": specification.title,
        "subtitle": specification.subtitle,
        "tables": {item.name: table_csv(item) for item in items if isinstance(item, Table)},
        "latex": {item.name: table_latex(item) for item in items if isinstance(item, Table)},
        "units": units(),
        "formulas": formulas(_measures(specification)),
        # The methods whose items can be looked at.
        "items": None
        if specification.items is None
        else list(dict.fromkeys(run.method for run in specification.items.runs)),
        **recorded_runs(specification.runs),
    }
    return json.dumps(content, ensure_ascii=False, allow_nan=False, default=str)


def compressed(text: str) -> str:
    """A text as the script unfolds it: gzip in base64."""
    # Without a time stamp in it, the same report is the same file.
    return base64.b64encode(gzip.compress(text.encode(), 6, mtime=0)).decode()


def _packed(figure: Figure) -> dict[str, Any]:
    """The figure with its columns of texts as levels and codes: thousands of trials repeat a few names."""
    plain = {"kind": figure.kind, **asdict(figure)}
    plain["data"] = _pivoted(figure.data, ("value",))
    short = {column: [_short(value) for value in values] for column, values in figure.folded.items()}
    plain["folded"] = _pivoted(short, ("mean", "low", "high", "count"))
    return plain


def _pivoted(frame: Frame, values: Sequence[str]) -> dict[str, Any]:
    """A long frame with one entry per run and a list per measure, if the page can put it together again.

    The page takes it apart run by run, measure by measure; a frame in another order is left as it is.
    """
    keys = [name for name in frame if name not in (*values, "measure")]
    if "measure" not in frame:
        return {column: _coded(entries) for column, entries in frame.items()}
    measures = list(dict.fromkeys(frame["measure"]))
    lines = list(zip(*(frame[name] for name in keys), strict=True))
    rows = {line: k for k, line in enumerate(dict.fromkeys(lines))}
    order = [(rows[line], measures.index(m)) for line, m in zip(lines, frame["measure"], strict=True)]
    if order != sorted(set(order)) or list(frame) != [*list(frame)[: -len(values)], *values]:
        return {column: _coded(entries) for column, entries in frame.items()}
    grids = {name: [[None] * len(rows) for _ in measures] for name in values}
    for name in values:
        for (row, measure), value in zip(order, frame[name], strict=True):
            grids[name][measure][row] = value
    return {
        "columns": list(frame),
        "measures": measures,
        "keys": {name: _coded([row[k] for row in rows]) for k, name in enumerate(keys)},
        "values": grids,
    }


def _coded(values: list[Any]) -> Any:
    levels = {value: code for code, value in enumerate(dict.fromkeys(values))}
    if not any(isinstance(value, str) for value in levels) and 3 * len(levels) > len(values):
        return values
    return {"levels": list(levels), "codes": [levels[value] for value in values]}


def _short(value: Any) -> Any:
    # Means are only drawn and written with three digits; what is saved as CSV is `data`, to the last digit.
    return float(f"{value:.7g}") if isinstance(value, float) else value


def recorded_runs(records: Sequence[RunRecord]) -> dict[str, Any]:
    """Every run with what is its own; what all have in common, and each environment, stands once."""
    # A run of an earlier version, or of somebody else, may hold what this one would not have written.
    records = [
        replace(
            r,
            configuration=redact(r.configuration),
            environment=redact(r.environment),
            reason=redact(r.reason),
        )
        for r in records
    ]
    flat = [dict(_flat(record.configuration)) for record in records]
    shared = {
        key: value
        for key, value in (flat[0] if flat else {}).items()
        if all(f.get(key) == value for f in flat)
    }
    environments: list[dict[str, Any]] = []
    runs = []
    for record, settings in zip(records, flat, strict=True):
        environment = dict(_flat({k: v for k, v in record.environment.items() if k != "command"}))
        if environment not in environments:
            environments.append(environment)
        plain = {f.name: getattr(record, f.name) for f in fields(record)}
        del plain["configuration"]
        runs.append(
            plain
            | {
                "command": record.command,
                "own": {key: value for key, value in settings.items() if key not in shared},
                "environment": environments.index(environment),
            }
        )
    return {"runs": runs, "common": shared, "environments": environments}


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested settings as dotted names; one-item entries of lists (`ldifs: {strength: 1}`) are taken apart, too."""
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        elif isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
            for item in value:
                yield from _flat(item, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
