"""`cl-forget audit`: what was lost, how far the model moved, and in which part of it the damage sits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from cl_forget.auditing.bench import Bench, Tested, choose_data, range_of_difference
from cl_forget.auditing.checkpoints import Data, compare, expand_names, short_names
from cl_forget.auditing.conditions import Condition, expand, parse_conditions
from cl_forget.auditing.gate import Compared, Decides, judge_gate
from cl_forget.auditing.pair import Pair, load_pair, require_there, run_behind
from cl_forget.auditing.reading import Reading
from cl_forget.auditing.records import Audit, Checkpoint, Effect, Loss, Moved, Quantised
from cl_forget.ground.environment import describe
from cl_forget.ground.errors import UserError
from cl_forget.ground.files import StrPath
from cl_forget.ground.progress import track
from cl_forget.ground.redact import redact
from cl_forget.models.options import TextOptions
from cl_forget.reporting.numbers import listed
from cl_forget.weights.layout import Layout, kind_of
from cl_forget.weights.merge import distances
from cl_forget.weights.quantisation import BITS, scheme

PART_SAMPLES = 200
"""Samples per data set that each part is measured on, unless told otherwise."""
BASE_CONTROL, NO_CONTROL = "base", "none"


def audit(
    base: str | None,
    tuned: str | Sequence[str],
    stream: Sequence[Any] = (),
    suites: Sequence[Any] = (),
    *,
    output: StrPath | None = None,
    limit: int | None = None,
    by_part: bool = True,
    part_samples: int = PART_SAMPLES,
    batch_size: int | None = None,
    text: TextOptions | None = None,
    tokenizer: str | None = None,
    fail_if: str | Sequence[str] = (),
    control: str = BASE_CONTROL,
    decides: Decides = "every",
    quantise: Sequence[int] = (),
) -> Audit:
    """Measure what `tuned` lost against `base`, where in the model it was lost, and whether that is too much.

    Without tasks and suites only the weights are compared. Otherwise each is measured on both models (test
    data), with KL to base, drift and CKA by depth; and every part that moved is put back to the base on its
    own, and tuned on its own, on validation data.

    Args:
        base: a model as an experiment file names it, or a path; None takes that of a run.
        tuned: a file or folder of weights, a LoRA adapter's folder, or the folder of a finished run; or several of
            them in order, of which the last is looked at part by part.
        stream: the tasks it was tuned on or for, as an experiment file names them.
        suites: what should not have been lost.
        output: a folder for audit.json, tables, pictures and page; None writes nothing.
        limit: samples per data set at most; None for all.
        by_part: whether to measure part by part.
        part_samples: samples per data set for that.
        batch_size: samples per forward pass; None for that of the tuned model's run, or 64.
        text: how a language model reads texts; by default as its run did.
        tokenizer: whose reads the texts of all models, "base" or "tuned"; None for the base's where both read alike,
            and the one with a chat template where only one has one.
        fail_if: what a gate refuses (`conditions`): "generality < -2 points".
        control: the gate's null control: "base", the base against itself; a model in which nothing should have been
            lost, such as a second seed of the base; or "none".
        decides: whether "every" checkpoint decides the gate, or the "last" one.
        quantise: bits that base and tuned model are rounded to, to see what that costs each (2 to 8).

    Raises:
        UserError: a model or data set cannot be found or read, the two models do not fit each other, or a condition
            is none, or on what is not measured.
    """
    conditions = parse_conditions([fail_if] if isinstance(fail_if, str) else fail_if)
    _refuse(decides, quantise)
    if not conditions and (control, decides) != (BASE_CONTROL, "every"):
        given = "--control" if control != BASE_CONTROL else "--decides"
        raise UserError(
            f"{given} is read by the gate alone: name what it refuses by --fail-if, or leave it out."
        )
    names = expand_names(tuned)
    short = dict(zip(names, short_names(names), strict=True))
    if control not in (BASE_CONTROL, NO_CONTROL):
        require_there(control, "null control", "--control")
    # The data first: a name that is wrong there is found before any model is loaded.
    data = Data(*choose_data(run_behind(base, names[-1]), stream, suites), batch_size, limit)
    if (conditions or quantise) and not (data.tasks or data.suites):
        raise UserError(
            "name what to measure with --stream and --suite: weights alone tell nothing of losses."
        )
    conditions = _on_what_is_measured(conditions, data)
    pair = load_pair(base, names[-1], text, tokenizer=tokenizer)
    found = Audit(
        base=redact(pair.base_name),
        tuned=redact(pair.tuned_name),
        format=pair.tuned.kind,
        reading=[] if pair.reading is None else list(pair.reading.said),
        environment=describe(),
        **_moved(pair),
    )
    if data.tasks or data.suites:
        named = _Base(pair.base_name, text or (pair.run.text if pair.run is not None else None), pair.reading)
        last = _last(found, pair, data, short[names[-1]], (by_part, part_samples), quantise)
        again = _base_again(last.bench) if conditions and control == BASE_CONTROL else None
        compared = last.compared
        del pair, last  # both models of it, before those of the next are read
        before = track(names[:-1], "checkpoint by checkpoint", len(names) - 1) if len(names) > 1 else ()
        earlier = [_beside(found, named, name, short[name], data) for name in before]
        found.history = [*found.history[1:], found.history[0]]
        if conditions:
            if control not in (BASE_CONTROL, NO_CONTROL):
                again = _control(found, named, control, data)
            found.gate = judge_gate(conditions, [*earlier, compared], again, decides)
    if output is not None:
        from cl_forget.auditing.output import write_audit

        write_audit(found, Path(output))
    return found


def _refuse(decides: str, quantise: Sequence[int]) -> None:
    """Options that no model has to be read for."""
    if decides not in get_args(Decides):
        raise UserError(f"'{decides}' decides nothing: write {listed(get_args(Decides), 'or')}.")
    for bits in quantise:
        if bits not in BITS:
            raise UserError(f"weights are rounded to {BITS[0]} to {BITS[-1]} bits, not {bits}.")


def _on_what_is_measured(conditions: Sequence[Condition], data: Data) -> list[Condition]:
    measured = (*data.tasks, *data.suites)
    fluent = {e.name for e in measured if e.scoring is not None and e.scoring.kind == "perplexity"}
    return expand(conditions, [t.name for t in data.tasks], [s.name for s in data.suites], fluent)


class _Last(NamedTuple):
    bench: Bench
    compared: Compared


def _last(
    found: Audit, pair: Pair, data: Data, name: str, parts: tuple[bool, int], quantise: Sequence[int]
) -> _Last:
    """Fill in all that is said of the last model: losses, drift, bits, and part by part."""
    bench = data.bench(pair)
    before = bench.base()
    after = bench.row("tuned", lambda _: 1.0)
    tuned = Tested.of(after, bench.items("test"))
    found.losses = data.losses(before, tuned)
    found.drift = after.drift
    compared = compare(name, bench, before, tuned)
    found.history.append(_checkpoint(compared, found.losses, found.parts[0].relative))
    for bits in quantise:
        found.quantised += _quantised(bench, bits, before, tuned)
    by_part, samples = parts
    if by_part:
        _by_part(found, bench.limited(min(samples, data.limit or samples)))
    return _Last(bench, compared)


def _checkpoint(compared: Compared, of: list[Loss], relative: float | None) -> Checkpoint:
    return Checkpoint(name=compared.name, losses=of, changes=compared.changes(), relative=relative)


class _Base(NamedTuple):
    """What every model is measured beside, and how texts are read for all of them."""

    name: str
    text: TextOptions | None
    reading: Reading | None

    def pair(self, tuned: str, found: Audit) -> Pair:
        """It and another model; what is to be said of how that one reads is said in `found`."""
        pair = load_pair(self.name, tuned, self.text, like=self.reading)
        said = () if pair.reading is None else pair.reading.said
        found.reading += [one for one in said if one not in found.reading]
        return pair


def _beside(found: Audit, base: _Base, tuned: str, name: str, data: Data) -> Compared:
    """Another checkpoint, put at the end of the history."""
    pair = base.pair(tuned, found)
    moved = distances(pair.base.source, pair.tuned.source, lambda _: ())
    bench = data.bench(pair)
    before, after = bench.base(), bench.tested(lambda _: 1.0)
    compared = compare(name, bench, before, after)
    found.history.append(_checkpoint(compared, data.losses(before, after), moved["all"].relative))
    return compared


def _base_again(bench: Bench) -> Compared:
    """The base against itself, measured anew: what is no change, measured as a change is."""
    return compare("the base itself", bench, bench.base(), bench.tested(lambda _: 0.0))


def _control(found: Audit, base: _Base, control: str, data: Data) -> Compared:
    bench = data.bench(base.pair(control, found))
    return compare(redact(control), bench, bench.base(), bench.tested(lambda _: 1.0))


def _quantised(bench: Bench, bits: int, base: Tested, tuned: Tested) -> Iterator[Quantised]:
    """Base and tuned model at so many bits, each beside itself."""
    ends: tuple[tuple[Literal["base", "tuned"], float, Tested], ...] = (
        ("base", 0.0, base),
        ("tuned", 1.0, tuned),
    )
    for model, share, whole in ends:
        tested = bench.tested(lambda _, s=share: s, bits)  # type: ignore[misc]
        assert tested.rounding is not None
        if not tested.rounding.parameters:
            raise UserError(
                f"'{bench.pair.base_name}' has no blocks that are recognised, so nothing to quantise."
            )
        compared = compare(model, bench, whole, tested)
        yield Quantised(
            model=model,
            bits=bits,
            scheme=scheme(bits),
            parameters=tested.rounding.parameters,
            relative=tested.rounding.relative,
            changes=compared.changes(),
            qualities=dict(compared.tuned),
        )


def _moved(pair: Pair) -> dict[str, list[Moved]]:
    """Weight distance by depth and by kind, read from the files tensor by tensor."""
    layout = Layout(pair.tuned.source.infos)
    by_group = distances(
        pair.base.source, pair.tuned.source, lambda n: (f"part {layout.part_of(n)}", f"kind {kind_of(n)}")
    )

    def records(prefix: str, names: Sequence[str]) -> list[Moved]:
        return [Moved(name=n, **vars(by_group[prefix + n])) for n in names if prefix + n in by_group]

    kinds = sorted(key.removeprefix("kind ") for key in by_group if key.startswith("kind "))
    return {
        "parts": [*records("", ["all"]), *records("part ", layout.parts)],
        "kinds": records("kind ", kinds),
    }


def _by_part(found: Audit, bench: Bench) -> None:
    """Fill in the two ends and the effect of every part that moved."""
    found.base_point, whole = bench.point(lambda _: 0.0), bench.measure(lambda _: 1.0)
    found.tuned_point = whole.point
    parts = moved_parts(bench.pair)
    layout = bench.pair.layout

    def only(part: str, inside: float) -> Callable[[str], float]:
        return lambda name: inside if layout.part_of(name) == part else 1.0 - inside

    for part in track(parts, "part by part", len(parts)):
        restored, alone = bench.measure(only(part, 0.0)), bench.point(only(part, 1.0))
        ranges = {
            "recovered": range_of_difference(restored.items, whole.items, whole.kept),
            "given_up": range_of_difference(whole.items, restored.items, whole.groups["speciality"]),
        }
        found.effects.append(
            Effect(
                part=part,
                restored=restored.point,
                alone=alone,
                recovered=_difference(restored.point.kept, whole.point.kept),
                given_up=_difference(whole.point.speciality, restored.point.speciality),
                ranges={key: found for key, found in ranges.items() if found is not None},
            )
        )


def moved_parts(pair: Pair) -> list[str]:
    """The parts, input to output, in which some tensor differs between base and tuned."""
    moved = {pair.layout.part_of(name) for name in pair.moved_names()}
    return [part for part in pair.layout.parts if part in moved]


def _difference(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other
