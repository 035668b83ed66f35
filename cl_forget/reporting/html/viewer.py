"""The viewer: one page that compares whatever results are dropped into it, without Python and without a network.

Its script computes what a report shows from `result.json` alone. What the two must agree on is written into the page
from where it is defined: which results may stand together, the measures, the looks.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib.resources import files
from typing import Any

from cl_forget.comparison.measures import PRETRAINED, Measure
from cl_forget.comparison.observations import COST_MEASURES, IDENTITY, headline_measures
from cl_forget.comparison.records import SCHEMA
from cl_forget.comparison.settings import DEFAULTS, NOT_OF_A_RUN, NOT_OF_A_TRIAL
from cl_forget.comparison.table import against_control
from cl_forget.config.run import PLAIN
from cl_forget.reporting import styles
from cl_forget.reporting.html.render import PATHS, compressed, environment, formulas, plotly, script_of, units

ANY = "\N{SYMBOL FOR NULL}"
"""Stands for the name of a task or a suite in a measure that there is one of for each."""

GENERATOR = '<meta name="generator" content="cl-forget viewer">'

SEEDS = 200
"""Up to so many seeds the intervals are exact; Student's t hardly moves beyond."""


def viewer_page() -> str:
    """The page as HTML; it is the same for everybody, and holds no result."""
    from markupsafe import Markup

    own = files("cl_forget.reporting.html")
    return (
        environment("viewer")
        .get_template("viewer.html")
        .render(
            css=Markup((own / "page" / "page.css").read_text(encoding="utf-8")),
            # Within a script element only the end of one would be read as anything else.
            rule=Markup(json.dumps(_rule(), ensure_ascii=True).replace("<", "\\u003c")),
            plotly=compressed(plotly()),
            script=Markup(_script()),
        )
    )


def _rule() -> dict[str, Any]:
    """What the script takes over from Python."""
    from scipy.special import stdtrit

    return {
        "schema": SCHEMA,
        "identity": IDENTITY,
        "defaults": {name: default.model_dump(mode="json") for name, default in DEFAULTS.items()},
        "not_of_a_run": NOT_OF_A_RUN,
        "not_of_a_trial": NOT_OF_A_TRIAL,
        "pretrained": PRETRAINED,
        "plain": PLAIN,
        "any": ANY,
        "measures": [_plain(measure) for measure in headline_measures([ANY], [ANY])],
        "against": [_plain(measure) for measure in against_control()],
        "cost": [_plain(measure) for measure in COST_MEASURES],
        "units": units(),
        "paths": PATHS,
        "student": [float(stdtrit(count - 1, 0.975)) for count in range(2, SEEDS + 1)],
        "looks": {
            "registered": styles.REGISTERED,
            "kept": styles.KEPT,
            "aliases": styles.ALIASES,
            "light": styles.LIGHT,
            "dark": styles.DARK,
            "symbols": styles.SYMBOLS,
            "neutral": (styles.NEUTRAL, styles.NEUTRAL_DARK),
        },
    }


def _plain(measure: Measure) -> dict[str, Any]:
    return {**asdict(measure), "formula": formulas([measure]).get(measure.name)}


def _script() -> str:
    """The page's own script behind what reads and compares; the latter has names of its own."""
    own, page = (files("cl_forget.reporting.html") / name for name in ("viewer", "page"))
    parts = {file.name: file for file in (*own.iterdir(), *page.iterdir()) if file.name.endswith(".js")}
    reading = [parts[name] for name in sorted(parts) if name.startswith("0")]
    drawing = [parts[name] for name in sorted(parts) if not name.startswith("0")]
    texts = ["".join(part.read_text(encoding="utf-8") for part in some) for some in (reading, drawing)]
    return script_of(f"const viewer = (() => {{\n{texts[0]}}})();\n{texts[1]}")
