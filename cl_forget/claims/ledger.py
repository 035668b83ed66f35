"""The ledger: every claim in every world with its verdict, as records, Markdown, CSV and a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from cl_forget.claims.claim import BALANCE, HYPERVOLUME, UNBOUNDED
from cl_forget.claims.items import KEPT, Paired, Right, keep, paired, wanted
from cl_forget.claims.planning import Asked, Plan
from cl_forget.claims.records import RECORDS, keep_records
from cl_forget.claims.values import Records, control, measured, points, settle
from cl_forget.comparison.law import Point, covered
from cl_forget.comparison.measures import PRETRAINED
from cl_forget.comparison.trials import Trial
from cl_forget.comparison.verdicts import HOLDS, Judged, Verdict, holm, overall, per_row
from cl_forget.ground.errors import UserError
from cl_forget.ground.files import write_bytes, write_text
from cl_forget.ground.spreadsheet import csv_text

BEGIN, END = "<!-- ledger: written by `cl-forget claims` -->", "<!-- end of the ledger -->"

IN_ITS_UNIT = (*UNBOUNDED, HYPERVOLUME)
"""Measures that are shown as they are; all others are shown in percentage points."""


class Line(BaseModel):
    """One claim in one world.

    Attributes:
        paper, source: where it comes from.
        name, sentence: of the claim.
        world, model: where it was tried.
        contrast: what was compared, in words.
        scale: what effects are multiplied with where they are shown, and their `unit` then.
        judged: the verdict and what it rests on.
        note: a deviation from the paper, or what was corrected after the runs.
        missing: runs and choices that the verdict still needs; with any, the claim is not run.
        controls: what was compared, with each control -> what came of it; None where that has not been run.
        paired: the two arms item by item, where the claim is about accuracy and items were kept.
        forgot: "F_true" and "BT_true" -> of the tuned arms compared, means over seeds; for claims about generality.
    """

    paper: str
    source: str
    name: str
    sentence: str
    world: str
    model: str
    contrast: str
    scale: float
    unit: str
    judged: Judged
    note: str = ""
    missing: int = 0
    controls: dict[str, Judged | None] = Field(default_factory=dict)
    paired: Paired | None = None
    forgot: dict[str, list[float]] = Field(default_factory=dict)

    @property
    def standing(self) -> str:
        """The verdict, or "not run"."""
        return "not run" if self.missing else self.judged.verdict

    @property
    def controlled(self) -> str:
        """The controls beside the claim, in words; "" where it has none."""
        return "; ".join(
            f"{contrast} has not been run" if judged is None else f"{contrast}: {self._said(judged)}"
            for contrast, judged in self.controls.items()
        )

    @property
    def behind(self) -> str:
        """The items behind the effect, in words; "" where nothing is known of them."""
        said = []
        if self.paired is not None:
            p = self.paired
            said.append(
                f"{p.more_only:,} items only the first has right, {p.less_only:,} only the second; McNemar p < .05 "
                f"for it in {p.better} of {p.seeds} seeds, against it in {p.worse}"
            )
        if self.forgot:
            parts = [
                f"{name} {' and '.join(f'{100 * value:.1f}' for value in values)} %"
                for name, values in self.forgot.items()
            ]
            said.append(", ".join(parts))
        return "; ".join(said)

    def shown(self, value: float | None) -> str:
        """A number in the unit that is shown."""
        if value is None:
            return "–"
        text = f"{self.scale * value:+.3g}" if self.scale == 1 else f"{self.scale * value:+.1f}"
        return text if text.strip("+-0.") else text.lstrip("+-")

    @property
    def effect(self) -> str:
        """The effect with its interval and unit, or why there is none."""
        return self._said(self.judged)

    def _said(self, j: Judged) -> str:
        if j.effect is None:
            return f"– ({j.reason})"
        said = f"{self.shown(j.effect)} [{self.shown(j.low)}, {self.shown(j.high)}]{self.unit}"
        return said if j.reason is None else f"{said} ({j.reason})"


def ledger(plan: Plan, trials: Mapping[str, Trial], items: Mapping[str, Right] | None = None) -> list[Line]:
    """Every claim of a plan with its verdict; p values are adjusted over all of them.

    Args:
        plan: the claims.
        trials: the records by id; a claim of which some are missing is not run, and decides nothing.
        items: of trials by id (`cl_forget.claims.items.gather`), for what stands behind an effect.
    """
    records = {key: Records(needed, trials) for key, needed in plan.needed.items()}
    settled, missing = [], []
    for one in plan.asked:
        here = records[one.key]
        here.missing.clear()
        settled.append(settle(one, here))
        missing.append(len(here.missing))
    adjusted = holm([judged for judged, _ in settled])
    lines = []
    for one, judged, (_, hardest), gone in zip(plan.asked, adjusted, settled, missing, strict=True):
        line = _line(one, judged, hardest)
        less = hardest or (one.claim.less[0] if one.claim.less else "")
        extra: dict[str, Any] = {"missing": gone}
        if not gone:
            extra["controls"] = _controls(one, records[one.key])
            extra["contrast"] = line.contrast + _reach(one, records[one.key])
        if not gone and one.claim.kind == "difference" and less:
            extra["paired"] = paired(one, records[one.key], items or {}, less)
            extra["forgot"] = _forgot(one, records[one.key], less)
        lines.append(line.model_copy(update=extra))
    return lines


def compared(plan: Plan, trials: Mapping[str, Trial]) -> list[str]:
    """Ids of the trials whose items the ledger compares."""
    return wanted(plan.asked, {key: Records(needed, trials) for key, needed in plan.needed.items()})


def _controls(one: Asked, records: Records) -> dict[str, Judged | None]:
    found: dict[str, Judged | None] = {}
    for arm in one.controls:
        records.missing.clear()
        judged = control(one, records, arm)
        if records.missing:
            found[f"its control {arm}"] = None
        elif one.claim.than is None:
            found[f"{one.claim.more} − its control {arm}"] = judged
        else:
            found[f"its control {arm} − {one.claim.than:g}"] = judged
    return found


def _reach(one: Asked, records: Records) -> str:
    """How many of its points a residual rests on, where some lie beyond all others'."""
    claim = one.claim
    if claim.kind != "residual":
        return ""
    arms = list(dict.fromkeys([*(claim.arms or one.sweep.arms), str(claim.more)]))
    inside, of = covered(points(claim, records, arms) or (), str(claim.more))
    return f", at {inside} of its {of} points" if inside < of else ""


def _forgot(one: Asked, records: Records, less: str) -> dict[str, list[float]]:
    claim = one.claim
    found: dict[str, list[float]] = {}
    if claim.measure not in ("generality", BALANCE):
        return found
    for name, metric in (("F_true", "f_true"), ("BT_true", "bt_true")):
        for arm in (str(claim.more), less):
            values = [] if arm == PRETRAINED else [
                None if t is None else measured(t, metric) for t in records.selected(arm).values()
            ]  # fmt: skip
            known = [value for value in values if value is not None]
            if known and len(known) == len(values):
                found.setdefault(name, []).append(sum(known) / len(known))
    return found


def laws(plan: Plan, trials: Mapping[str, Trial]) -> dict[str, dict[str, list[Point]]]:
    """World -> distance -> every setting that a claim of kind "explained" reads, where all were run."""
    found: dict[str, dict[str, list[Point]]] = {}
    for one in plan.asked:
        if one.claim.kind == "explained" and one.claim.against is not None:
            arms = one.claim.arms or list(one.sweep.arms)
            here = points(one.claim, Records(plan.needed[one.key], trials), arms)
            if here:
                found.setdefault(one.world, {})[one.claim.against] = here
    return found


def _line(one: Asked, judged: Judged, hardest: str | None) -> Line:
    claim = one.claim
    raw = (
        claim.kind in ("correlation", "explained")
        or claim.relative
        or claim.measure.partition(".")[0] in IN_ITS_UNIT
    )
    percent = claim.relative
    return Line(
        paper=one.claims.paper,
        source=claim.source,
        name=claim.name,
        sentence=claim.sentence,
        world=one.world,
        model=one.sweep.model,
        contrast=_contrast(one, hardest, judged),
        scale=100.0 if percent or not raw else 1.0,
        unit=" %" if percent else "" if raw else " points",
        judged=judged,
        note=claim.note,
    )


def _contrast(one: Asked, shown: str | None, judged: Judged) -> str:
    """What was compared; `shown` is the comparator that the verdict rests on, where there are several."""
    claim = one.claim
    than = "" if claim.than is None else f" − {claim.than:g}"
    if claim.kind == "correlation":
        return f"{'−' if claim.sign < 0 else ''}ρ({claim.measure}, {claim.against}){than} over all settings"
    if claim.kind == "explained":
        return f"R² of {claim.measure} given {claim.against}{than}, each arm from the others' curve"
    if claim.kind == "residual":
        return f"{claim.measure} of {claim.more} beyond the others' curve over {claim.against}{than}"
    if than:
        return f"{claim.measure}: {claim.more}{than}"
    if shown is None:
        return f"{claim.measure}: {claim.more} − {claim.less[0]}"
    if judged.reason is None:
        said = f"the hardest of {len(claim.less)}"
    else:  # nothing could be compared, so none is the hardest
        said = f"one of {len(claim.less)}" + ", which lacks a value" * (judged.effect is None)
    return f"{claim.measure}: {claim.more} − {shown}, {said}"


def markdown(lines: Sequence[Line]) -> str:
    """The ledger as a table, one line per claim and world that was run, and the names of those that were not."""
    run = [line for line in lines if not line.missing]
    parts = [_per_row(lines), _markdown_table(run)] if run else ["Nothing has been run yet."]
    worlds = dict.fromkeys(line.world for line in lines if line.missing)
    for world in worlds:
        names = [f"`{line.name}`" for line in lines if line.missing and line.world == world]
        parts.append(f"Not run in the world `{world}`, {len(names)}: {', '.join(names)}.")
    return "\n\n".join(parts)


def _per_row(lines: Sequence[Line]) -> str:
    return per_row([line.judged for line in lines if not line.missing])


def _markdown_table(lines: Sequence[Line]) -> str:
    rows = [
        "| claim (source) | world | compared | effect [95 %] | margin | seeds | p, Holm | verdict |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for line in lines:
        j = line.judged
        cells = (
            "; ".join(filter(None, (f"{line.sentence} ({line.source})", line.note, line.controlled))),
            line.world,
            line.contrast,
            line.effect,
            ("no loss beyond " if j.rule == "keeps" else "") + line.shown(j.margin).lstrip("+") + line.unit,
            str(j.seeds),
            "–" if j.p_t_holm is None else f"{j.p_t_holm:.2g}",
            f"**{j.verdict}**" + f" {HOLDS}" * j.holds,
        )
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows)


def summary(lines: Sequence[Line]) -> dict[str, Verdict]:
    """Claim -> what all of its worlds say; undecided where they differ."""
    names = dict.fromkeys(line.name for line in lines)
    return {name: overall([line.judged.verdict for line in lines if line.name == name]) for name in names}


COLUMNS = (
    "paper", "source", "name", "sentence", "world", "model", "contrast", "verdict", "effect", "low", "high",
    "bootstrap_low", "bootstrap_high", "margin", "rule", "seeds", "p", "p_holm", "p_t", "p_t_holm",
    "p_equivalence", "holds", "reason", "note", "missing", "controls", "more_only", "less_only", "mcnemar_better",
    "mcnemar_worse", "behind",
)  # fmt: skip


def table(lines: Sequence[Line]) -> str:
    """The ledger as CSV, every number in the measure's own unit."""
    rows: list[list[Any]] = []
    for line in lines:
        fields = {**line.model_dump(exclude={"judged"}), **line.judged.model_dump(), "behind": line.behind}
        fields |= {"verdict": line.standing, "holds": line.judged.holds, "controls": line.controlled}
        p = line.paired
        fields |= {"more_only": None, "less_only": None, "mcnemar_better": None, "mcnemar_worse": None}
        if p is not None:
            fields |= {"more_only": p.more_only, "less_only": p.less_only}
            fields |= {"mcnemar_better": p.better, "mcnemar_worse": p.worse}
        rows.append([fields[name] for name in COLUMNS])
    return csv_text(COLUMNS, rows)


def write_ledger(
    lines: Sequence[Line],
    trials: Sequence[Trial],
    folder: Path,
    panels: Mapping[str, Mapping[str, Sequence[Point]]] | None = None,
    items: Mapping[str, Right] | None = None,
    chosen: Mapping[str, str] | None = None,
) -> list[Path]:
    """Write the ledger into `README.md` (between its marks), `claims.csv`, `claims.html` and the records.

    Args:
        lines: of the ledger.
        trials: the records that are kept beside it.
        folder: of the experiments.
        panels: world -> distance -> points, drawn as `law-<world>.png`.
        items: of the trials that are compared, kept beside the records.
        chosen: world -> what its arms chose, in words.

    Raises:
        UserError: the folder cannot be written.
    """
    from cl_forget.reporting.html.claims import claims_page
    from cl_forget.reporting.print.law import law_png

    readme = folder / "README.md"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        text = readme.read_text(encoding="utf-8") if readme.exists() else f"# Claims\n\n{BEGIN}\n{END}\n"
        parts = [markdown(lines), *(chosen or {}).values()]
        write_text(readme, _between(text, readme, "\n\n".join(parts)))
        write_text(folder / "claims.csv", table(lines))
        laws = {world: law_png(of_world) for world, of_world in (panels or {}).items()}
        write_text(folder / "claims.html", claims_page(rows(lines), laws, _per_row(lines), chosen))
        keep_records(trials, folder / RECORDS)
        keep(items or {}, folder / KEPT)
        pictures = [folder / f"law-{world}.png" for world in laws]
        for picture, drawn in zip(pictures, laws.values(), strict=True):
            write_bytes(picture, drawn)
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}; choose another --ledger.") from None
    return [readme, *(folder / name for name in ("claims.csv", "claims.html", RECORDS, KEPT)), *pictures]


def rows(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """What the page shows of each line: texts, and the interval for its picture."""
    return [
        {
            **line.model_dump(
                include={"paper", "source", "name", "sentence", "world", "model", "contrast", "note"}
            ),
            "verdict": line.standing,
            "holds": line.judged.holds,
            "behind": line.behind,
            "controlled": line.controlled,
            "effect": line.effect,
            "seeds": line.judged.seeds,
            "p": line.judged.p_t_holm,
            "exact": line.judged.p_holm,
            "margin": line.scale * line.judged.margin,
            "keeps": line.judged.rule == "keeps",
            "interval": [
                None if value is None else line.scale * value
                for value in (line.judged.low, line.judged.effect, line.judged.high)
            ],
        }
        for line in lines
    ]


def _between(text: str, readme: Path, new: str) -> str:
    """The text with what stands between the marks replaced.

    Raises:
        UserError: the marks are not there.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise UserError(
            f"{readme} has no place for the ledger; write the lines\n{BEGIN}\n{END}\nwhere it shall stand."
        )
    return f"{before}{BEGIN}\n{new}\n{END}{after}"
