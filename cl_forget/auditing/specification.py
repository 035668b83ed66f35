"""An audit or a repair as a report's specification: the page, the trade-off picture and the tables come from it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from cl_forget.auditing.bench import inverse, quality
from cl_forget.auditing.conditions import Unit, parse_conditions
from cl_forget.auditing.edits import MERGES
from cl_forget.auditing.gate import in_unit
from cl_forget.auditing.records import (
    Audit,
    Candidate,
    Change,
    Effect,
    Gate,
    Loss,
    Moved,
    Point,
    Quantised,
    Repair,
    Repaired,
    score,
)
from cl_forget.comparison.measures import PRETRAINED, Cell, Frame, Measure
from cl_forget.comparison.observations import collect, fold
from cl_forget.evaluation.definitions import DEFINITIONS
from cl_forget.evaluation.depths import BESIDE, depth_name
from cl_forget.evaluation.items import Interval
from cl_forget.mitigations.hma import HeterogeneousAveraging
from cl_forget.mitigations.intruder_reduction import IntruderReduction
from cl_forget.mitigations.lines import LiNeS
from cl_forget.mitigations.protocol import Mitigation
from cl_forget.mitigations.wise_ft import WiseFT
from cl_forget.reporting._titles import pair_title
from cl_forget.reporting.numbers import formula_text, listed, number
from cl_forget.reporting.specification import (
    Bars,
    Figure,
    Lines,
    Method,
    RunRecord,
    Section,
    Specification,
    Table,
    Tradeoff,
    definitions_of,
)
from cl_forget.reporting.styles import method_styles

TUNED, REPAIRED = "tuned", "repaired"
RESTORED, ALONE = "part restored", "part tuned alone"
_QUALITY = "accuracy, or 1/perplexity where there is none"
SPECIALITY = Measure("speciality", "Speciality", "percent", f"mean {_QUALITY}, over the tasks", "higher")
GENERALITY = Measure("generality", "Generality", "percent", "mean accuracy over the suites", "higher")
FLUENCY = Measure("fluency", "Fluency", "percent", "mean 1/perplexity over the suites", "higher")
PERPLEXITY = Measure(
    "perplexity",
    "Perplexity",
    "number",
    "1/(mean 1/perplexity) over the suites that have no accuracy",
    "lower",
)
RISE = "rise of the loss per token (of ln perplexity), paired by sample"
DEPTHS = (
    Measure(
        "relative", "Relative weight distance", "number",
        "how far the part has moved for its size: ‖θ − θ₀‖ / ‖θ₀‖", "lower",
    ),
    Measure("distance", "Weight distance", "number", "how far the part has moved: ‖θ − θ₀‖, L2", "lower"),
    Measure("cka", "Similarity of features (CKA)", "number", "linear CKA with the base's features", "higher"),
    Measure(
        "feature_drift", "Feature drift", "number", "mean squared distance of pooled features, relative", "lower"
    ),
)  # fmt: skip


def specify_audit(audit: Audit) -> Specification:
    """The page of an audit."""
    bits = [_at_bits(one) for one in audit.quantised]
    names = [TUNED, *([RESTORED, ALONE] if audit.effects else []), *bits]
    what: list[Figure | Table] = [_table(audit.losses, [PRETRAINED, TUNED])] if audit.losses else []
    sections = [
        Section("lost", "What was lost", tuple(what)),
        Section("history", "Checkpoint by checkpoint", tuple(_history(audit))),
        Section("bits", "What fewer bits cost", tuple(_bits(audit))),
        Section("where", "Where it was lost", tuple(_effects(audit))),
        Section("moved", "How far the model moved", (*_depths(audit), _kinds(audit.kinds))),
    ]
    return Specification(
        title=pair_title("What fine-tuning cost", audit.tuned, audit.base),
        subtitle=f"base {audit.base} · tuned {audit.tuned} ({audit.format})",
        findings=tuple(audit_findings(audit)),
        methods=_methods(names),
        sections=tuple(section for section in sections if section.items),
        runs=(RunRecord("audit", TUNED, 0, {"base": audit.base, "tuned": audit.tuned}, audit.environment),),
        definitions=definitions_of(sections),
    )


def specify_repair(found: Repair) -> Specification:
    """The page of a repair."""
    searched = list(dict.fromkeys(c.method for c in found.candidates))
    titles = [TITLES[method] for method in searched]
    sections = (
        Section("tradeoff", "Trade-off", (_tradeoff(found, searched),)),
        Section("results", "On test data", (_table(found.losses, [PRETRAINED, TUNED, REPAIRED]),)),
    )
    merged = f" · merged with {', '.join(found.merged)}" if found.merged else ""
    return Specification(
        title=pair_title("What comes back without training", found.tuned, found.base),
        subtitle=f"base {found.base} · tuned {found.tuned} ({found.format}){merged}",
        findings=tuple(repair_findings(found)),
        methods=_methods([TUNED, *titles, REPAIRED]),  # the chosen one is drawn on top
        sections=sections,
        runs=(RunRecord("repair", REPAIRED, 0, found.choice.model_dump(mode="json"), found.environment),),
        definitions=definitions_of(sections),
    )


# -- sentences -----------------------------------------------------------------------------------------------
SAID = 4
"""Conditions of a gate that findings name one by one."""


def gate_findings(gate: Gate) -> Iterable[str]:
    """The answer of a gate, and what it rests on, in sentences."""
    last = gate.judged[-1].checkpoint
    deciding = [one for one in gate.judged if gate.decides == "every" or one.checkpoint == last]
    ended = [one for one in deciding if one.answer == gate.answer]
    models = len({one.checkpoint for one in deciding})
    what = f"{len(gate.conditions)} condition{'s' * (len(gate.conditions) > 1)}"
    on = f" on {models} checkpoints" if models > 1 else ""
    yield f"Gate with {what}{on}: {gate.answer} (exit code {gate.exit_code})."
    for one in ended[:SAID]:
        named = "" if one.measure in one.condition else f" on {one.measure}"
        where = f", {one.checkpoint}" if models > 1 else ""
        yield f"'{one.condition}'{named}{where}: {one.reason}."
    if len(ended) > SAID:
        yield f"So it is of {len(ended) - SAID} more."
    controls = [one for one in gate.controls if parse_conditions([one.condition])[0].spares_no_change]
    for one in controls[:1]:
        ends = (
            "" if one.range is None else f", 95\N{NO-BREAK SPACE}% interval {_ends_of(one.range, one.unit)}"
        )
        value = f"{in_unit(one.value, one.unit)} {one.unit}"
        yield f"Null control, {one.checkpoint}: {one.measure} {value}{ends}."
    if any(one.answer == "cannot be told" for one in controls):
        yield "Even the null control cannot be told from a model that fails: these samples are too few for the gate."


def _ends_of(interval: Interval, unit: Unit = "points") -> str:
    return f"{in_unit(interval.low, unit)} to {in_unit(interval.high, unit)}"


def quantised_findings(audit: Audit) -> Iterable[str]:
    """What each number of bits costs base and tuned model, in sentences."""
    for bits in dict.fromkeys(one.bits for one in audit.quantised):
        both = {one.model: one.changes for one in audit.quantised if one.bits == bits}
        for measure in both["base"]:
            said = [f"the {model} {_changed(changes[measure])}" for model, changes in both.items()]
            yield f"{bits} bits change {measure} of {' and of '.join(said)}."


def _changed(change: Change) -> str:
    """A change with its interval: in points, or in nats where it is one of perplexities."""
    unit: Unit = "points" if change.perplexity_rise is None else "nats"
    value = change.change if change.perplexity_rise is None else change.perplexity_rise
    sure = change.ranges.get("change" if change.perplexity_rise is None else "perplexity_rise")
    loss = "" if unit == "points" else " of loss per token"
    return f"{in_unit(value, unit)} {unit}{loss}" + ("" if sure is None else f" ({_ends_of(sure, unit)})")


def audit_findings(audit: Audit) -> Iterable[str]:
    """The audit in sentences; each only if its numbers are known."""
    if audit.gate is not None:
        yield from gate_findings(audit.gate)
    yield from audit.reading
    yield from _lost([loss for loss in audit.losses if loss.role == "suite" and loss.drop is not None])
    unseen = [loss.name for loss in audit.losses if loss.drop is not None and "drop" not in loss.ranges]
    if unseen:
        yield (
            f"No interval is known for {', '.join(unseen)}: their samples are not seen one by one (as in tasks of "
            "lm-eval), so a small change may be chance."
        )
    yield from _put_back(audit)
    moved = [part for part in audit.parts[1:] if part.relative is not None]
    if moved and not any(part.distance for part in moved):
        yield "No weight has moved: the two models are the same."
    elif moved:
        most = max(moved, key=lambda part: part.relative or 0.0)
        yield f"Moved most for its size: '{most.name}', by {_percent(most.relative)} of its norm."
    yield from quantised_findings(audit)


def _lost(suites: Sequence[Loss]) -> Iterable[str]:
    """What the suites have lost: in points where they have an accuracy, else in nats and perplexities."""
    kinds = [
        [loss for loss in suites if (loss.perplexity_rise is None) == accurate] for accurate in (True, False)
    ]
    worst = [max(own, key=lambda loss: _loss(loss)[0]) for own in kinds if own]
    if not worst:
        return
    lost = [loss for loss in worst if _is_lost(loss)]
    for loss in lost:
        value, sure = _loss(loss)
        if loss.perplexity_rise is None:
            what, change = "loss", f"{_points(-value)} points"
            between = None if sure is None else Interval(low=-sure.high, high=-sure.low)
            ends = "" if between is None else f"; 95 % interval {_ends_of(between)}"
        else:
            what, change = "rise of a perplexity", f"{in_unit(value, 'nats')} nats of loss per token"
            ends = "" if sure is None else f"; 95 % interval {_ends_of(sure, 'nats')}"
        doubt = " Too few samples to tell whether that is a loss." if sure and sure.low <= 0 else ""
        yield f"Largest {what}: {loss.name}, {_from_to(loss)} ({change}{ends}).{doubt}"
    if not lost:
        nearest = next((loss for loss in worst if _visible(loss)), None)
        near = "" if nearest is None else f"; the nearest to it is {nearest.name}, {_from_to(nearest)}"
        yield f"No suite has lost anything{near}."


def _loss(loss: Loss) -> tuple[float, Interval | None]:
    """How much was lost, and its interval: accuracy, or nats of loss per token."""
    if loss.perplexity_rise is not None:
        return loss.perplexity_rise, loss.ranges.get("perplexity_rise")
    return loss.drop or 0.0, loss.ranges.get("drop")


def _visible(loss: Loss) -> bool:
    """Whether what was lost or won is more than nothing to the digits shown."""
    value, _ = _loss(loss)
    return bool(number(value, "change" if loss.perplexity_rise is None else "nats").strip("0.\N{MINUS SIGN}"))


def _is_lost(loss: Loss) -> bool:
    """Whether it counts as a loss: one that the digits show, or that is sure however small it is."""
    value, sure = _loss(loss)
    return (value > 0 and _visible(loss)) or (sure is not None and sure.low > 0)


def _from_to(loss: Loss) -> str:
    if loss.perplexity_rise is not None:
        ends = [number(scores.perplexity, "number") for scores in (loss.base, loss.tuned)]
        return f"from {ends[0]} to {ends[1]}"
    return f"from {_percent(quality(loss.base))} to {_percent(quality(loss.tuned))}"


def _put_back(audit: Audit) -> Iterable[str]:
    """What the best part to put back to the base brings, and what it costs."""
    effects = [e for e in audit.effects if e.recovered is not None]
    if not effects:
        return
    best = max(effects, key=lambda e: e.recovered or 0.0)
    sure, tuned = best.ranges.get("recovered"), audit.tuned_point
    fluency = _fluency_of(tuned), _fluency_of(best.restored)
    if tuned is not None and _stays(tuned) is FLUENCY and None not in fluency:
        before, after = (number(1 / (value or 1.0), "number") for value in fluency)
        what, won = f"perplexity from {before} to {after}", before != after
    else:
        what, won = f"{_points(best.recovered)} points of generality", _shows(best.recovered)
    price = _price(audit, best)
    if not won or (best.recovered or 0.0) < 0:
        yield "No part on its own brings generality back when it is put back to the base."
    elif sure is not None and sure.low <= 0:
        yield (
            f"Putting '{best.part}' back to the base seems best ({what}{price}), but there are too few samples to "
            "tell."
        )
    else:
        yield f"Putting '{best.part}' back to the base: {what}{price}."


def _fluency_of(point: Point | None) -> float | None:
    return None if point is None or not point.fluency else point.fluency


def _price(audit: Audit, best: Effect) -> str:
    """The speciality that a part costs, as the end of a sentence."""
    paid, tuned = best.given_up, audit.tuned_point
    tasks = [loss for loss in audit.losses if loss.role == "task"]
    if paid is None:
        return ""
    if tuned is not None and tasks and all(loss.perplexity_rise is not None for loss in tasks):
        ends = [number(1 / s if s else None, "number") for s in (tuned.speciality, best.restored.speciality)]
        return f", and the tasks' perplexity from {ends[0]} to {ends[1]}"
    return f", and {_points(-paid)} of speciality" if _shows(paid) else ", at no cost of speciality"


def repair_findings(found: Repair) -> Iterable[str]:
    """The answer and the choice in sentences."""
    yield f"{found.verdict[0].upper()}{found.verdict[1:]}: {found.reason}" if found.reason else "Repaired."
    yield from found.reading
    yield f"Chosen on validation data: {_titled(found.choice)}. {_reason(found)}"
    if found.statistics is not None:
        yield _STATISTICS[found.statistics]
    for role, what in (("task", "Speciality"), ("suite", "Generality")):
        ends = [_mean_quality(found.losses, role, which) for which in ("base", "tuned", "repaired")]
        base, tuned, repaired = map(_percent, ends)
        own = [loss for loss in found.losses if loss.role == role]
        if None not in ends and any(loss.perplexity_rise is None for loss in own):
            same = len({base, tuned, repaired}) == 1
            told = (
                f"{base} in all three models" if same else f"base {base}, tuned {tuned}, repaired {repaired}"
            )
            yield f"{what} on test data: {told}."
    for loss in found.losses:
        if loss.base.perplexity is not None:
            read = [number(s.perplexity, "number") for s in (loss.base, loss.tuned, loss.repaired)]
            yield f"Perplexity on {loss.name}, test data: base {read[0]}, tuned {read[1]}, repaired {read[2]}."


_STATISTICS = {
    "re-estimated": "Tuning has changed BatchNorm's statistics; every edit has its own, from the tasks' training "
    "data.",
    "mixed": "Tuning has changed BatchNorm's statistics; in every edit they are mixed like weights and not "
    "re-estimated, as the tasks have no training data.",
}


def _titled(candidate: Candidate) -> str:
    """The edit as a sentence names it."""
    if candidate.method == "restore":
        return candidate.label
    return f"{TITLES[candidate.method]} with {candidate.knob} = {candidate.setting:g}"


def _reason(found: Repair) -> str:
    """The rule of the choice for readers who have not seen its formula."""
    if found.keep is None:
        return (
            "Of all edits tried it has the largest mean of two shares: of the base's generality, and of the tuned "
            "model's speciality."
        )
    return f"It has the {found.rule.removesuffix(', on validation data')}."


def _shows(change: float | None) -> bool:
    """Whether a change is more than nothing to the digits shown."""
    return change is not None and bool(number(change, "change").strip("0."))


def _percent(value: float | None) -> str:
    return f"{number(value, 'percent')}\N{NO-BREAK SPACE}%"


def _points(value: float | None) -> str:
    return number(value, "change")


def _mean_quality(losses: Sequence[Repaired], role: str, which: str) -> float | None:
    from cl_forget.evaluation.metrics import mean

    own = [loss for loss in losses if loss.role == role]
    if role == "suite":  # as in a run: perplexities stand beside
        return mean([getattr(loss, which).accuracy for loss in own if loss.base.accuracy is not None])
    return mean([quality(getattr(loss, which)) for loss in own])


# -- figures -------------------------------------------------------------------------------------------------
def _methods(names: Sequence[str]) -> tuple[Method, ...]:
    styles = method_styles(names, TUNED, PRETRAINED)
    roles: dict[str, Any] = {PRETRAINED: "reference"}
    return tuple(
        Method(name, roles.get(name, "method"), (0,), s.color, s.color_dark, s.symbol)
        for name in (PRETRAINED, *names)
        for s in (styles[name],)
    )


def _table(losses: Sequence[Loss], models: Sequence[str]) -> Table:
    """Tasks and suites as columns, the models as lines; KL to base behind them."""
    fields = dict(zip(models, ("base", "tuned", "repaired"), strict=False))
    rows: dict[str, dict[str, Cell]] = {model: {} for model in models}
    measures = []
    for loss in losses:
        fluent = loss.perplexity_rise is not None
        group = {"task": "Tasks", "suite": "Suites"}[loss.role]
        measures.append(
            Measure(
                loss.name, loss.name, "number", "perplexity on test data", "lower", f"{group}, perplexity"
            )
            if fluent
            else Measure(loss.name, loss.name, "percent", f"{loss.metric} on test data", "higher", group)
        )
        for model, which in fields.items():
            scores = getattr(loss, which)
            sure = inverse(loss.ranges.get(which)) if fluent else loss.ranges.get(which)
            ends = (None, None) if sure is None else (sure.low, sure.high)
            rows[model][loss.name] = Cell(scores.perplexity if fluent else quality(scores), *ends)
    for loss in losses:
        key = f"kl:{loss.name}"
        measures.append(Measure(key, loss.name, "nats", DEFINITIONS["kl_to_base"], "lower", "KL to base"))
        for model, which in fields.items():
            rows[model][key] = Cell(getattr(loss, which).kl_to_base)
    return Table(
        "results",
        "Before and after",
        "On test data, in % where it is no perplexity: what the model was tuned for, and what should have stayed.",
        tuple(m for m in measures if any(row[m.name].mean is not None for row in rows.values())),
        rows,
    )


Spot = tuple[str, float, Interval | None]
"""A place along a line, the value there, and its interval."""
CHECKPOINTS = {"speciality": SPECIALITY, "generality": GENERALITY, "fluency": PERPLEXITY}


def _shown(measure: str, value: float, sure: Interval | None) -> tuple[float, Interval | None]:
    """A mean of a checkpoint as its measure shows it: fluency as a perplexity."""
    return (1 / value, inverse(sure)) if measure == FLUENCY.name and value > 0 else (value, sure)


def _history(audit: Audit) -> list[Figure]:
    """Every checkpoint's means with their 95 % intervals over test samples, the base first."""
    if len(audit.history) < 2:
        return []
    names = [PRETRAINED, *(one.name for one in audit.history)]
    folded: Frame = {name: [] for name in ("method", "measure", "x", "mean", "low", "high", "count")}
    for measure, change in audit.history[-1].changes.items():
        first: Spot = (PRETRAINED, *_shown(measure, change.base, change.ranges.get("base")))
        found = [(one.name, one.changes[measure]) for one in audit.history]
        later: list[Spot] = [(name, *_shown(measure, of.tuned, of.ranges.get("tuned"))) for name, of in found]
        flat: list[Spot] = [(name, first[1], None) for name in names]
        for method, line in ((PRETRAINED, flat), (TUNED, [first, *later])):
            for x, value, sure in line:
                ends = (None, None) if sure is None else (sure.low, sure.high)
                for column, entry in zip(
                    folded, (method, CHECKPOINTS[measure].name, x, value, *ends, 1), strict=True
                ):
                    folded[column].append(entry)
    data = {
        "method": folded["method"],
        "seed": [0] * len(folded["x"]),
        "measure": folded["measure"],
        "x": folded["x"],
        "value": folded["mean"],
    }
    measures = tuple(m for m in CHECKPOINTS.values() if m.name in folded["measure"])
    return [
        Lines(
            name="history",
            title="What each checkpoint keeps",
            how_to_read="On test data, the base first and then the checkpoints in the order given. The band is "
            "the 95 % interval over samples; the flat line is the base.",
            measures=measures,
            data=data,
            folded=folded,
            axis="checkpoint",
            places={m.name: tuple(names) for m in measures},
        )
    ]


def _at_bits(one: Quantised) -> str:
    """What a rounded model is called in the table."""
    return f"{'base' if one.model == 'base' else TUNED}, {one.bits} bits"


def _bits(audit: Audit) -> list[Figure | Table]:
    """Base and tuned model as they are and at fewer bits, on test data."""
    if not audit.quantised:
        return []
    known = [CHECKPOINTS[m] for m in audit.quantised[0].changes]
    rows: dict[str, dict[str, Cell]] = {}
    for one in sorted(audit.quantised, key=lambda one: one.model):
        whole = PRETRAINED if one.model == "base" else TUNED
        named = [(CHECKPOINTS[m].name, m, c) for m, c in one.changes.items()]
        rows.setdefault(whole, {n: _cell(*_shown(m, c.base, c.ranges.get("base"))) for n, m, c in named})
        rows[_at_bits(one)] = {n: _cell(*_shown(m, c.tuned, c.ranges.get("tuned"))) for n, m, c in named} | {
            f"cost:{n}": _cell(c.change, c.ranges.get("change"))
            if n != PERPLEXITY.name or c.perplexity_rise is None
            else _cell(c.perplexity_rise, c.ranges.get("perplexity_rise"))
            for n, _, c in named
        }
        rows[_at_bits(one)]["rounded"] = Cell(one.relative)
    columns = [*(m.name for m in known), *(f"cost:{m.name}" for m in known), "rounded"]
    rows = {model: {name: row.get(name, Cell(None)) for name in columns} for model, row in rows.items()}
    costs = [
        Measure(f"cost:{m.name}", m.title, "nats", RISE, "lower", "Change")
        if m is PERPLEXITY
        else Measure(
            f"cost:{m.name}",
            m.title,
            "change",
            "rounded minus whole, paired by sample",
            "higher",
            "Change",
        )
        for m in known
    ]
    distance = "‖Q(θ) - θ‖ / ‖θ‖ over the weights that were rounded"
    schemes = dict.fromkeys(f"{one.bits} bits: {one.scheme}." for one in audit.quantised)
    return [
        Table(
            "bits",
            "Base and tuned model at fewer bits",
            "On test data, in % where it is no perplexity. Weights alone are "
            "rounded, tensor by tensor, and computed with in their own type.",
            (
                *known,
                *costs,
                Measure("rounded", "Rounding", "percent", distance, "lower"),
            ),
            rows,
            notes=tuple(schemes),
        )
    ]


def _cell(value: float, sure: Interval | None) -> Cell:
    return Cell(value) if sure is None else Cell(value, sure.low, sure.high)


def _lines(
    name: str, title: str, how: str, measures: Sequence[Measure], entries: Any, axis: str
) -> list[Figure]:
    data = collect(entries)
    if not data:
        return []
    order: dict[str, dict[str, None]] = {}
    for measure, place in zip(data["measure"], data["x"], strict=True):
        order.setdefault(measure, {})[place] = None
    return [
        Lines(
            name=name,
            title=title,
            how_to_read=how,
            measures=tuple(m for m in measures if m.name in order),
            data=data,
            folded=fold(data),
            axis=axis,
            by_depth=True,
            beside=BESIDE,
            places={measure: tuple(sorted(of, key=BESIDE.__contains__)) for measure, of in order.items()},
        )
    ]


def _stays(point: Point | None) -> Measure:
    """What stands for what should have stayed: fluency where no suite has an accuracy."""
    return (
        FLUENCY
        if point is not None and point.generality is None and point.fluency is not None
        else GENERALITY
    )


def _effects(audit: Audit) -> list[Figure]:
    ends = {PRETRAINED: audit.base_point, TUNED: audit.tuned_point}
    stays = PERPLEXITY if _stays(audit.tuned_point) is FLUENCY else GENERALITY
    back = "perplexity falls" if stays is PERPLEXITY else "generality jumps up"

    def entries() -> Iterable[tuple[dict[str, Any], float | None]]:
        for effect in audit.effects:
            points = {**ends, RESTORED: effect.restored, ALONE: effect.alone}
            for method, point in points.items():
                fluency = _fluency_of(point)
                kept = point.generality if stays is GENERALITY and point is not None else None
                if stays is PERPLEXITY and fluency is not None:
                    kept = 1 / fluency
                values = {
                    stays.name: kept,
                    SPECIALITY.name: None if point is None else point.speciality,
                }
                for measure, value in values.items():
                    yield {"method": method, "seed": 0, "measure": measure, "x": effect.part}, value

    return _lines(
        "parts",
        "Which part of the model holds the loss?",
        "From input to output, on validation data. Restored: the tuned model with this one part put back to the "
        f"base; where {back}, the damage sits. Alone: the base with only this part tuned; where "
        f"speciality jumps up, the skill sits.{_beside(audit)}",
        (stays, SPECIALITY),
        entries(),
        "part",
    )


def _beside(audit: Audit) -> str:
    """What of the model is no depth of it, in a sentence; empty where there is no such part."""
    found = [part.name for part in audit.parts if part.name in BESIDE]
    if not found:
        return ""
    lies, stands = ("lie", "stand") if len(found) > 1 or found[0].endswith("s") else ("lies", "stands")
    names = listed([f"The {found[0]}", *(f"the {name}" for name in found[1:])])
    return f" {names} {lies} beside that way and {stands} apart."


def _depths(audit: Audit) -> list[Figure]:
    def entries() -> Iterable[tuple[dict[str, Any], float | None]]:
        for part in audit.parts[1:]:
            for measure in ("relative", "distance"):
                yield {"method": TUNED, "seed": 0, "measure": measure, "x": part.name}, getattr(part, measure)
        for measure in ("cka", "feature_drift"):
            for depth, value in getattr(audit.drift, measure).items():
                x = depth_name(measure, depth)
                yield {"method": TUNED, "seed": 0, "measure": measure, "x": x}, value

    return _lines(
        "drift",
        "Weights and features by depth",
        "From input to output. Distance and drift: 0 is unchanged. CKA: 1 is unchanged up to rotation and scale."
        f"{_beside(audit)}",
        DEPTHS,
        entries(),
        "depth",
    )


def _kinds(kinds: Sequence[Moved]) -> Figure:
    measures = tuple(
        Measure(
            f"kind:{k.name}",
            k.name,
            "percent",
            "how far these tensors have moved for their size: ‖θ − θ₀‖ / ‖θ₀‖",
            "lower",
        )
        for k in kinds
    )
    data = collect(({"method": TUNED, "seed": 0, "measure": f"kind:{k.name}"}, k.relative) for k in kinds)
    return Bars(
        name="kinds",
        title="Weight distance by kind of tensor",
        how_to_read="In % of the norm these tensors have in the base; all on one scale.",
        measures=tuple(m for m in measures if m.name in data["measure"]),
        data=data,
        folded=fold(data),
        shared_scale=True,
    )


_EDITS: tuple[type[Mitigation], ...] = (
    WiseFT,
    LiNeS,
    HeterogeneousAveraging,
    IntruderReduction,
    *MERGES.values(),
)
TITLES = {edit.name: edit.title for edit in _EDITS} | {"restore": "restore parts"}
_KNOBS = {
    edit.name: f"{edit.knob or 'how many models'} of {edit.title}, {formula_text(edit.formula)}"
    for edit in _EDITS
} | {
    "restore": "how many parts of the tuned model were put back to the base, the best bargain first",
}


def _tradeoff(found: Repair, searched: Sequence[str]) -> Figure:
    ends = {PRETRAINED: found.base_point, TUNED: found.tuned_point, REPAIRED: found.choice.validation}
    stays = _stays(found.tuned_point)

    def entries() -> Iterable[tuple[dict[str, Any], float | None]]:
        for method, point in ends.items():
            yield from of(method, point, None, None)
        for c in found.candidates:
            if c.method != "restore" or c.knob == "parts":
                yield from of(TITLES[c.method], c.validation, f"{c.method}.{c.knob}", c.setting)
        for method in searched:  # the marker that bears the line's name
            best = _best(found, method)
            if best is not None:
                yield from of(TITLES[method], best.validation, None, None)

    def of(method: str, point: Point, knob: str | None, setting: float | None) -> Any:
        for measure in (SPECIALITY.name, stays.name):
            keys = {"method": method, "seed": 0, "measure": measure, "knob": knob, "setting": setting}
            yield keys, getattr(point, measure)

    data = collect(entries())
    return Tradeoff(
        name="tradeoff",
        title="What comes back, and what does it cost?",
        how_to_read="Up and to the right is better, on validation data. A line is one edit with its knob turned; "
        f"nothing was trained. Its marker is where it balances both best; '{REPAIRED}' is the chosen edit, "
        f"{_titled(found.choice)}. On the grey stair no other edit is better on both.",
        measures=(SPECIALITY, stays),
        data=data,
        folded=fold(data),
        x=SPECIALITY.name,
        y=stays.name,
        notes=(
            f"Repaired: {_titled(found.choice)}.",
            *(f"Numbers along {TITLES[m]}: {_KNOBS[m]}." for m in searched),
        ),
    )


def _best(found: Repair, method: str) -> Candidate | None:
    """The best balance of both axes on a method's line."""
    own = [c for c in found.candidates if c.method == method and (method != "restore" or c.knob == "parts")]
    return max(own, key=lambda c: score(c.validation, found.base_point, found.tuned_point), default=None)
