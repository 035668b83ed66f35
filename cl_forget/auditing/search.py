"""The search of `cl-forget repair`: every edit that is tried, each measured on validation data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from cl_forget.auditing.audit import moved_parts
from cl_forget.auditing.bench import Bench, Measured
from cl_forget.auditing.edits import MERGES, Formula, formula_of
from cl_forget.auditing.records import Candidate, score
from cl_forget.evaluation.metrics import pareto_front
from cl_forget.ground.progress import bar
from cl_forget.mitigations.hma import HeterogeneousAveraging
from cl_forget.mitigations.intruder_reduction import IntruderReduction
from cl_forget.mitigations.lines import LiNeS
from cl_forget.mitigations.wise_ft import WiseFT

if TYPE_CHECKING:
    from cl_forget.weights.interpolation import Share

RESTORE = "restore"
BY_PART = (WiseFT.name, LiNeS.name, HeterogeneousAveraging.name, RESTORE)
METHODS = (*BY_PART, IntruderReduction.name, *MERGES)
HMA_GRID = (0.3, 0.5, 0.7)
"""Mean shares that HMA is fitted at: each fit is a search of its own."""
HMA_SAMPLES = 128

Shares = dict[str, float]
"""How much of the way from the base to the tuned model each part of the model goes."""


def usual_methods(kind: str, models: int) -> tuple[str, ...]:
    """What is searched where nobody says it: merges of several models; of one, what has been shown to bring it back.

    Args:
        kind: what the tuned model is on disk.
        models: how many tuned models there are.
    """
    if models > 1:
        return tuple(MERGES)
    return (*BY_PART, IntruderReduction.name) if kind == "adapter" else BY_PART


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
        self._measured: dict[tuple[object, ...], Measured] = {}
        self._formulas: dict[str, Formula] = {}

    def share(self, shares: Shares) -> Callable[[str], float]:
        """By name of a tensor instead of by part."""
        return lambda name: shares[self.layout.part_of(name)]

    def edit(self, candidate: Candidate) -> Callable[[str], Share]:
        """What a candidate does with each tensor, by its name in the file; what a formula makes is made anew."""
        if candidate.shares:
            return self.share(candidate.shares)
        return self._formulas[candidate.method].streamed(candidate.setting)

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
                found += edits[method]() if method in edits else self._by_formula(method)
                advance(1, method)
        points = [(c.validation.speciality, c.validation.kept) for c in found]
        for position in pareto_front([[number_or_least(x), number_or_least(y)] for x, y in points]):
            found[position].front = True
        return found

    def _candidate(self, method: str, knob: str, setting: float, shares: Shares) -> Candidate:
        key = tuple(shares[part] for part in self.parts)
        return self._known(method, knob, setting, shares, key, lambda: self.share(shares))

    def _known(
        self,
        method: str,
        knob: str,
        setting: float,
        shares: Shares,
        key: tuple[object, ...],
        edit: Callable[[], Callable[[str], Share]],
    ) -> Candidate:
        if key not in self._measured:
            self._measured[key] = self.bench.measure(edit())
        point = self._measured[key].point
        return Candidate(method=method, knob=knob, setting=setting, shares=shares, validation=point)

    def measured(self, candidate: Candidate) -> Measured:
        """What a candidate did with each sample."""
        parts = tuple(candidate.shares[part] for part in self.parts) if candidate.shares else ()
        return self._measured[parts or (candidate.method, candidate.setting)]

    def _by_formula(self, method: str) -> Iterator[Candidate]:
        """Each setting of a formula, whose vectors are in memory as long as it is tried."""
        formula = self._formulas[method] = formula_of(method, self.bench.pair)
        at = formula.kept()
        for value in formula.settings:
            yield self._known(method, formula.knob, value, {}, (method, value), lambda: at(value))  # noqa: B023

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


def number_or_least(value: float | None) -> float:
    """A quality, or less than any where nothing was measured."""
    return float("-inf") if value is None else value
