"""`cl-forget repair`: edits of the weights that need no training, searched on validation data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cl_forget.auditing.audit import moved_parts
from cl_forget.auditing.bench import Bench, Measured, Tested, choose_data, require_data
from cl_forget.auditing.checkpoints import losses
from cl_forget.auditing.pair import Pair, load_pair, run_behind
from cl_forget.auditing.records import Candidate, Point, Repair, Repaired, score
from cl_forget.auditing.verdict import judge
from cl_forget.evaluation.metrics import pareto_front
from cl_forget.ground.environment import describe
from cl_forget.ground.errors import UserError
from cl_forget.ground.files import StrPath
from cl_forget.ground.progress import bar
from cl_forget.ground.redact import redact
from cl_forget.ground.registry import closest
from cl_forget.mitigations.hma import HeterogeneousAveraging
from cl_forget.mitigations.lines import LiNeS
from cl_forget.mitigations.wise_ft import WiseFT
from cl_forget.models.lm_sources import load_hf
from cl_forget.models.options import TextOptions
from cl_forget.weights.checkpoint import open_checkpoint

RESTORE = "restore"
METHODS = (WiseFT.name, LiNeS.name, HeterogeneousAveraging.name, RESTORE)
HMA_GRID = (0.3, 0.5, 0.7)
"""Mean shares that HMA is fitted at: each fit is a search of its own."""
HMA_SAMPLES = 128

Shares = dict[str, float]
"""How much of the way from the base to the tuned model each part of the model goes."""


def repair(
    base: str | None,
    tuned: str,
    stream: Sequence[Any] = (),
    suites: Sequence[Any] = (),
    *,
    output: StrPath | None = None,
    keep: float | None = None,
    methods: Sequence[str] = METHODS,
    limit: int | None = None,
    samples: int | None = 500,
    batch_size: int | None = None,
    text: TextOptions | None = None,
    merge_adapter: bool = False,
    anyway: bool = False,
) -> Repair:
    """Search edits between `base` and `tuned`, choose one on validation data, write it, report on test data.

    Every edit is `θ0 + s·(θ-θ0)` with one share s for each part of the model: the same for all (WiSE-FT),
    rising with depth (LiNeS), fitted in three groups (HMA), or 0 for some parts and 1 for the rest (restore).

    The choice: with retention `G/G(base)` and target `S/S(tuned)` (G, S: mean quality over suites and tasks,
    validation data) the edit with the largest mean of the two; or, with `keep`, that with the largest G among
    those with S ≥ keep · S(tuned). Equal edits: the one nearer to the tuned model. Without `keep` no edit is chosen
    whose S lies below the 95 % interval of the tuned model's.

    The answer (`verdict`): "repaired" where the choice brings generality back beyond its paired 95 % interval and,
    on test data, still has the speciality it was chosen for. Otherwise no model is written, unless `anyway`: there
    was "nothing to repair", "the tuned model has learnt nothing", there were "too few samples to tell", or "no edit
    brings it back".

    Args:
        base, tuned, stream, suites: as for `audit`; at least one task and one suite.
        output: a folder for the repaired model (`model/`), repair.json, tables, picture and page; None writes
            nothing.
        keep: share of the tuned model's speciality that must be kept, in (0, 1].
        methods: what to search, of `METHODS`.
        limit: samples per data set for the report on test data; None for all.
        samples: samples per validation set for the search; None for all.
        batch_size: samples per forward pass; None for that of the tuned model's run, or 64.
        text: how a language model reads texts; by default as its run did.
        merge_adapter: write a LoRA adapter's edit merged, in the base's format, instead of as an adapter.
        anyway: write the chosen edit whatever the answer is.

    Raises:
        UserError: as `audit`; no task or no suite; an unknown method; an output that exists.
    """
    asked = Asked(
        output=None if output is None else Path(output),
        keep=keep,
        methods=tuple(methods),
        limit=limit,
        samples=samples,
        merge_adapter=merge_adapter,
        anyway=anyway,
    )
    asked.check()
    tasks, chosen = choose_data(run_behind(base, tuned), stream, suites)
    require_data(tasks, "the task the model was tuned for", "--stream")
    require_data(chosen, "a suite of what must not be lost", "--suite")
    pair = load_pair(base, tuned, text)
    pair.add_tasks(tasks)
    pair.load()
    found = _repaired(Bench(pair, tasks, chosen, batch_size, limit), asked)
    if asked.output is not None:
        from cl_forget.auditing.output import write_repair

        write_repair(found, asked.output)
    return found


@dataclass(frozen=True)
class Asked:
    """What a repair is asked for; the fields are the arguments of `repair` of the same names."""

    output: Path | None
    keep: float | None
    methods: tuple[str, ...]
    limit: int | None
    samples: int | None
    merge_adapter: bool
    anyway: bool

    def check(self) -> None:
        """Refuse what cannot be done, before anything is loaded; raises `UserError`."""
        if self.keep is not None and not 0 < self.keep <= 1:
            raise UserError(
                f"keep is the share of the tuned accuracy to keep, above 0 and at most 1, not {self.keep:g}."
            )
        for method in self.methods:
            if method not in METHODS:
                raise UserError(
                    f"no edit is called '{method}'.{closest(method, list(METHODS))} Known: {', '.join(METHODS)}."
                )
        if self.output is not None and (self.output / "model").exists():
            raise UserError(f"{self.output / 'model'} exists; choose another --output, or remove it.")


def _repaired(bench: Bench, asked: Asked) -> Repair:
    """Search, choose, write the model, and measure it on test data."""
    pair, tasks, suites = bench.pair, bench.tasks, bench.suites
    small = bench.limited(min(HMA_SAMPLES, asked.samples or HMA_SAMPLES))
    search = Search(bench.limited(asked.samples), small)
    candidates = search.run(asked.methods)
    position, rule = choose(candidates, search.base, search.tuned, asked.keep)
    share = search.share(candidates[position].shares)
    tested = {}
    for model, of in (("base", lambda _: 0.0), ("tuned", lambda _: 1.0), ("repaired", share)):
        row = bench.row(None if model == "base" else model, of)
        tested[model] = Tested.of(row, bench.items("test"))
    items = {model: found.items for model, found in tested.items()}
    chosen = candidates[position]
    verdict, reason = judge(search.ends, search.measured(chosen), chosen, asked.keep, items)
    written: list[Path] = []
    if asked.output is not None and (verdict == "repaired" or asked.anyway):
        written = pair.write(share, asked.output / "model", asked.merge_adapter)
        _reread(pair, asked.output / "model", asked.merge_adapter)
    return Repair(
        base=redact(pair.base_name),
        tuned=redact(pair.tuned_name),
        format=pair.base.kind if asked.merge_adapter else pair.tuned.kind,
        rule=rule,
        keep=asked.keep,
        base_point=search.base,
        tuned_point=search.tuned,
        candidates=candidates,
        chosen=position,
        losses=[
            Repaired(
                **vars(loss),
                repaired=tested["repaired"].scores[loss.name],
            )
            for loss in losses(tasks, suites, tested["base"].scores, tested["tuned"].scores, items)
        ],
        verdict=verdict,
        reason=reason,
        written=[str(path) for path in written],
        environment=describe(),
    )


class Search:
    """The edits, each measured on validation data.

    Args:
        bench: measures the candidates.
        small: measures what HMA is fitted on.
    """

    def __init__(self, bench: Bench, small: Bench) -> None:
        self.bench, self.small = bench, small
        self.layout = bench.pair.layout
        self.parts = self.layout.parts
        self.ends = bench.measure(lambda _: 0.0), bench.measure(lambda _: 1.0)
        self.base, self.tuned = (end.point for end in self.ends)
        self._measured: dict[tuple[float, ...], Measured] = {}

    def share(self, shares: Shares) -> Callable[[str], float]:
        """By name of a tensor instead of by part."""
        return lambda name: shares[self.layout.part_of(name)]

    def run(self, methods: Sequence[str]) -> list[Candidate]:
        """Every candidate, the tuned model itself first; what two methods have in common is measured once."""
        edits: dict[str, Callable[[], Iterator[Candidate]]] = {
            WiseFT.name: self._wise_ft,
            LiNeS.name: self._lines,
            HeterogeneousAveraging.name: self._hma,
            RESTORE: self._restore,
        }
        found = [self._candidate(WiseFT.name, "alpha", 1.0, dict.fromkeys(self.parts, 1.0))]
        with bar("searching", len(methods)) as advance:
            for method in methods:
                found += edits[method]()
                advance(1, method)
        points = [(c.validation.speciality, c.validation.kept) for c in found]
        for position in pareto_front([[_number(x), _number(y)] for x, y in points]):
            found[position].front = True
        return found

    def _candidate(self, method: str, knob: str, setting: float, shares: Shares) -> Candidate:
        key = tuple(shares[part] for part in self.parts)
        if key not in self._measured:
            self._measured[key] = self.bench.measure(self.share(shares))
        point = self._measured[key].point
        return Candidate(method=method, knob=knob, setting=setting, shares=shares, validation=point)

    def measured(self, candidate: Candidate) -> Measured:
        """What a candidate did with each sample."""
        return self._measured[tuple(candidate.shares[part] for part in self.parts)]

    def _wise_ft(self) -> Iterator[Candidate]:
        for alpha in WiseFT.grid[:-1]:
            method = WiseFT(alpha=alpha)
            shares = {part: float(method.share(part)) for part in self.parts}
            yield self._candidate(WiseFT.name, "alpha", alpha, shares)

    def _by_block(self, of_block: Callable[[int | None], float]) -> Shares:
        blocks = {f"block {i}": i for i in range(self.layout.blocks)}
        return {part: of_block(blocks.get(part)) for part in self.parts}

    def _lines(self) -> Iterator[Candidate]:
        for a in LiNeS.grid if self.layout.blocks > 1 else ():
            method = LiNeS(a=a)
            shares = self._by_block(lambda block, m=method: m.share(block, self.layout.blocks))  # type: ignore[misc]
            yield self._candidate(LiNeS.name, "a", a, shares)

    def _hma(self) -> Iterator[Candidate]:
        blocks = self.layout.blocks
        for alpha in HMA_GRID if blocks > 1 else ():
            method = HeterogeneousAveraging(alpha=alpha)

            def shares(groups: tuple[float, ...], m: HeterogeneousAveraging = method) -> Shares:
                return self._by_block(lambda block: m.share(block, blocks, groups))

            fitted = method.search(blocks, lambda groups: self.small.loss(self.share(shares(groups))))
            yield self._candidate(HeterogeneousAveraging.name, "alpha", alpha, shares(fitted))

    def _restore(self) -> Iterator[Candidate]:
        """Each part put back on its own; then all of them one after another, the best bargain first."""
        whole = dict.fromkeys(self.parts, 1.0)
        singles = [
            self._candidate(RESTORE, part, 0.0, {**whole, part: 0.0}) for part in moved_parts(self.bench.pair)
        ]
        yield from singles
        singles.sort(key=lambda c: -score(c.validation, self.base, self.tuned))
        shares = whole
        for count, single in enumerate(singles, 1):
            shares = {**shares, single.knob: 0.0}
            yield self._candidate(RESTORE, "parts", count, shares)


def choose(candidates: Sequence[Candidate], base: Point, tuned: Point, keep: float | None) -> tuple[int, str]:
    """Position of the chosen candidate, and the rule in words (`rule_of`); see `repair`."""

    def nearness(candidate: Candidate) -> float:
        return sum(candidate.shares.values()) / len(candidate.shares)

    everyone = range(len(candidates))
    if keep is None:
        known = tuned.ranges.get("speciality")
        lowest = float("-inf") if known is None else known.low
        whole = [i for i in everyone if _number(candidates[i].validation.speciality) >= lowest]
        best = max(
            whole, key=lambda i: (score(candidates[i].validation, base, tuned), nearness(candidates[i]))
        )
        return best, rule_of(keep)
    floor = keep * _number(tuned.speciality)
    kept = [i for i in everyone if _number(candidates[i].validation.speciality) >= floor]
    best = max(kept, key=lambda i: (_number(candidates[i].validation.kept), nearness(candidates[i])))
    return best, rule_of(keep)


def rule_of(keep: float | None) -> str:
    """The rule of the choice in words.

    Args:
        keep: share of the tuned model's speciality to keep; None balances both.
    """
    if keep is None:
        return "largest mean of retention G/G(base) and target S/S(tuned), on validation data"
    return f"largest generality among edits that keep {keep:g} of the tuned speciality, on validation data"


def _number(value: float | None) -> float:
    return float("-inf") if value is None else value


def _reread(pair: Pair, folder: Path, merge_adapter: bool) -> None:
    """The written model must be whole: opened again, with the tensors it should have."""
    names = pair.base.source.infos if merge_adapter else pair.tuned.source.infos
    again = open_checkpoint(
        folder if pair.tuned.kind != "file" or merge_adapter else folder / pair.tuned.path.name,
        pair.base.source,
    )
    if (pair.base if merge_adapter else pair.tuned).saver is not None:
        load_hf(str(folder))  # its library stores it otherwise, and says whether it is whole
        return
    again.know(names)
    if set(again.source.infos) != set(names):
        raise UserError(f"the model in {folder} is not whole; remove it and run again.")
