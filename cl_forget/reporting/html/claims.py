"""The ledger of claims as one page that fetches nothing and needs no script."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from importlib.resources import files
from itertools import groupby
from typing import Any

from cl_forget.comparison.verdicts import HOLDS

WIDTH, HEIGHT = 220, 22
"""Of the picture of one interval."""

NOT_RUN = "not run"


def claims_page(
    rows: Sequence[Mapping[str, Any]],
    laws: Mapping[str, bytes] | None = None,
    per_row: str = "",
    chosen: Mapping[str, str] | None = None,
) -> str:
    """The page.

    Args:
        rows: one per claim and world: paper, source, sentence, world, contrast, verdict, effect, seeds, p and exact
            (Holm-adjusted, or None), holds (whether the verdict does after Holm), margin, keeps, note, behind (the
            items behind it, in words), controlled (its controls, in words), and interval: (low, effect, high), or
            None for each. Those with the verdict "not run" are listed by name.
        laws: world -> its law panel as a PNG.
        per_row: how many verdicts hold after Holm, in a sentence.
        chosen: world -> what its arms chose, in words.
    """
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    own = files("cl_forget.reporting.html") / "page"
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    papers = []
    for paper, several in groupby(rows, key=lambda row: row["paper"]):
        of_paper = list(several)
        open_: dict[str, list[str]] = {}
        for row in of_paper:
            if row["verdict"] == NOT_RUN:
                open_.setdefault(row["world"], []).append(row["sentence"])
        papers.append((paper, [row for row in of_paper if row["verdict"] != NOT_RUN], open_))
    counts = {
        name: sum(row["verdict"] == name for row in rows)
        for name in ("supported", "contradicted", "equivalent", "undecided", NOT_RUN)
    }
    return environment.from_string((own / "claims.html").read_text(encoding="utf-8")).render(
        papers=papers,
        laws={world: base64.b64encode(picture).decode() for world, picture in (laws or {}).items()},
        counts=counts,
        per_row=per_row,
        chosen=chosen or {},
        mark=HOLDS,
        place=place,
        width=WIDTH,
        height=HEIGHT,
        css=Markup((own / "page.css").read_text(encoding="utf-8")),
    )


def place(row: Mapping[str, Any]) -> dict[str, float] | None:
    """Where the parts of a row's picture stand, in pixels; None where there is no interval.

    The axis is symmetric about 0 and holds the interval and the margin.
    """
    low, effect, high = row["interval"]
    if low is None or effect is None or high is None:
        return None
    reach = 1.1 * max(abs(low), abs(high), row["margin"], 1e-12)

    def x(value: float) -> float:
        return round(WIDTH * (value + reach) / (2 * reach), 1)

    least = x(-row["margin"] if row["keeps"] else 0.0)
    return {
        "low": x(low), "effect": x(effect), "high": x(high), "zero": x(0.0), "left": x(-row["margin"]),
        "right": x(row["margin"]), "least": least,
    }  # fmt: skip
