"""From claims to trials: every arm tuned alike, then the selected settings on the report's stream and seeds.

All claims are planned together. A trial is known by what it is, so what two claims, or two papers, ask for alike is
run once; and a fine-tune that several trials need is done once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from cl_forget.claims.claim import Claim, Claims, check_measures, load_claims, load_world
from cl_forget.comparison.selection import default_protocol, place, spread, within_budget
from cl_forget.comparison.settings import settings_of
from cl_forget.comparison.trials import Trial
from cl_forget.config.sweep import Sweep
from cl_forget.ground.errors import UserError
from cl_forget.ground.registry import closest
from cl_forget.sweeps.planning import Planned, chosen, plan_grid, planned

POINTS = 4
"""Settings of an arm's curve, as many for every arm: a hypervolume grows with their number."""


@dataclass(frozen=True)
class Asked:
    """One claim in one world."""

    file: Path
    claims: Claims
    claim: Claim
    world: str
    sweep: Sweep
    grid: list[Planned]

    @property
    def key(self) -> str:
        """Equal for the same world, whichever file names it."""
        return self.sweep.model_dump_json(exclude={"track"})

    @property
    def priced(self) -> bool:
        """Whether its data are not here."""
        return self.claims.worlds[self.world].price is not None

    @property
    def arms(self) -> list[str]:
        """The arms that it needs, and those of its controls that the world has."""
        named = self.claim.arms_in(list(self.sweep.arms))
        return [arm for arm in named if arm in self.sweep.arms or arm not in self.claim.controls]

    @property
    def controls(self) -> list[str]:
        """Its controls that the world has."""
        return [arm for arm in self.claim.controls if arm in self.sweep.arms]


@dataclass
class Needed:
    """What claims together need of one world: arms, and of which of them whole curves."""

    sweep: Sweep
    grid: list[Planned]
    arms: list[str] = field(default_factory=list)
    curves: set[str] = field(default_factory=set)
    _knobs: dict[str, str | None] = field(default_factory=dict)

    def tuning(self) -> list[Planned]:
        """The settings that selection chooses among."""
        return [one for one in self.grid if one.trial.method in self.arms]

    def reporting(self, trials: Iterable[Trial]) -> list[Planned]:
        """The selected setting of each arm, and its curve where one is asked for, on the report's stream and seeds.

        Args:
            trials: whatever has been run; an arm without a setting that ran to its end is left out.
        """
        return self._report(self.selected(trials))

    def supposed(self) -> list[Planned]:
        """The same before anything is selected, for an estimate: as if the first of each arm's grid were."""
        first: dict[str, dict[str, Any]] = {}
        for one in sorted(self.tuning(), key=lambda one: place(one.trial.config)):
            first.setdefault(one.trial.method, one.trial.config)
        return self._report(first)

    def _report(self, selected: dict[str, dict[str, Any]]) -> list[Planned]:
        report = self.sweep.report_on
        assert report is not None
        configs = {arm: self._configs(arm, config) for arm, config in selected.items()}
        found: dict[str, Planned] = {}
        for seed in report.seeds or self.sweep.seeds:
            for arm, several in configs.items():
                for config in several:
                    one = planned(self.sweep, arm, config, seed, "report")
                    found.setdefault(one.trial.id, one)
        return list(found.values())

    def selected(self, trials: Iterable[Trial]) -> dict[str, dict[str, Any]]:
        """Arm -> the fields of the setting that validation data chose; only arms whose settings are all over."""
        own = {one.trial.id: one.trial for one in self.tuning()}
        known = {trial.id: trial for trial in trials}
        tuned = [known.get(name, trial) for name, trial in own.items()]
        open_ = {trial.method for trial in tuned if not trial.over}
        tuned = [trial for trial in tuned if trial.method not in open_]
        return {arm: config for arm, (_, config) in chosen(self.sweep, tuned).items()}

    def _configs(self, arm: str, config: dict[str, Any]) -> list[dict[str, Any]]:
        """The selected fields, then the points of the curve."""
        if arm not in self.curves:
            return [config]
        return [config, *({**config, **point} for point in self.points(arm, config))]

    def points(self, arm: str, config: dict[str, Any]) -> list[dict[str, Any]]:
        """The points of an arm's curve: its strengths at the chosen learning rate, or its learning rates.

        The chosen value is always one of them, as an arm's best setting belongs to its curve.
        """
        if arm not in self._knobs:
            self._knobs[arm] = planned(self.sweep, arm, config, 0, "report").trial.knob
        knob = self._knobs[arm]
        ranges = self.sweep.ranges(arm)
        name = knob if knob in ranges else "train.lr"
        if name not in ranges:
            return [{}]
        values = ranges[name].values or []
        return [{name: values[place]} for place in _around(values, config.get(name))]


def _around(values: Sequence[Any], selected: Any) -> list[int]:
    """Places of an even spread in which the chosen value takes the nearest one's, the ends' last."""
    places = spread(range(len(values)), POINTS)
    if selected in values and values.index(selected) not in places:
        own = values.index(selected)
        ends = (places[0], places[-1])
        places[places.index(min(places, key=lambda place: (place in ends, abs(place - own))))] = own
    return places


@dataclass(frozen=True)
class Plan:
    """All claims that are worked through together.

    Attributes:
        asked: each claim in each of its worlds, in the order of the ledger.
        needed: what the worlds have to run; worlds that several files name alike stand once.
    """

    asked: list[Asked]
    needed: dict[str, Needed]

    def tuning(self) -> list[Planned]:
        """Every trial that selection reads, each once."""
        return distinct(one for needed in self.needed.values() for one in needed.tuning())

    def reporting(self, trials: Sequence[Trial]) -> list[Planned]:
        """Every trial that verdicts read, each once; errors as `select`."""
        return distinct(one for needed in self.needed.values() for one in needed.reporting(trials))


def plan(
    files: Sequence[Path], only: Sequence[str] = (), worlds: Sequence[str] = (), priced: bool = False
) -> Plan:
    """Plan the claims of some files.

    Args:
        files: of claims.
        only: names of the claims to take; none is all of them.
        worlds: names of the worlds to take; none is all that run here.
        priced: whether worlds that do not run here are taken, too, where none is named.

    Raises:
        UserError: a file, a name or an arm is wrong, or arms are not treated alike.
    """
    known: dict[str, tuple[Sweep, list[Planned]]] = {}
    asked = [one for file in files for one in _read(file, known)]
    _check_names(asked, only, worlds)
    taken = [
        one
        for one in asked
        if (not only or one.claim.name in only)
        and (one.world in worlds if worlds else priced or not one.priced)
    ]
    needed: dict[str, Needed] = {}
    for one in taken:
        here = needed.setdefault(one.key, Needed(one.sweep, one.grid))
        here.arms += [arm for arm in one.arms if arm not in here.arms]
        if one.claim.over_curves:
            here.curves.update(arm for arm in one.arms if arm not in one.claim.controls)
    return Plan(taken, needed)


def distinct(several: Iterable[Planned]) -> list[Planned]:
    """The trials, each once."""
    found: dict[str, Planned] = {}
    for one in several:
        found.setdefault(one.trial.id, one)
    return list(found.values())


def _read(file: Path, known: dict[str, tuple[Sweep, list[Planned]]]) -> list[Asked]:
    """The claims of a file in their worlds; `known` holds the worlds that files before it have named."""
    claims = load_claims(file)
    sweeps: dict[str, Sweep] = {}
    grids: dict[str, list[Planned]] = {}
    for name in dict.fromkeys(name for claim in claims.claims for name in claim.worlds):
        given = claims.worlds[name]
        place = f"{(file.parent / given.sweep).resolve()} {given.set}"
        if place not in known:
            sweep = load_world(file, name, given)
            # Probes are fitted on test tasks and never selected on: tuning goes without, and is shared more often.
            grid = _thinned(sweep, plan_grid(sweep.model_copy(update={"probes": []})))
            _check_fair(file, name, grid)
            known[place] = sweep, grid
        sweeps[name], grids[name] = known[place]
    found = []
    for claim in claims.claims:
        for arm in claim.controls:
            if not any(arm in sweeps[world].arms for world in claim.worlds):
                _no_arm(file, claim, claim.worlds[0], arm, sweeps)
        for world in claim.worlds:
            one = Asked(file, claims, claim, world, sweeps[world], grids[world])
            for arm in one.arms:
                if arm not in one.sweep.arms:
                    _no_arm(file, claim, world, arm, sweeps)
            found.append(one)
    return found


def _no_arm(file: Path, claim: Claim, world: str, arm: str, sweeps: Mapping[str, Sweep]) -> NoReturn:
    raise UserError(
        f"{file}: claim '{claim.name}': world '{world}' has no arm '{arm}'."
        f"{closest(arm, list(sweeps[world].arms))}"
    )


def _thinned(sweep: Sweep, grid: Sequence[Planned]) -> list[Planned]:
    """The settings that selection reads: as many of each arm as the arm with the fewest has, evenly spread.

    The same grid gives the same choice in `cl-forget sweep`, whose records and reports count here. A sweep with a
    budget of trials is thin already.
    """
    ordered = sorted(grid, key=lambda one: one.trial.id)
    protocol = sweep.protocol or default_protocol([])
    if sweep.budget.trials is not None or protocol.equal != "trials":
        return ordered
    read = within_budget(settings_of([one.trial for one in ordered]), protocol.equal)
    names = {trial.id for found in read.values() for setting in found for trial in setting.trials.values()}
    return [one for one in ordered if one.trial.id in names]


def _check_fair(file: Path, world: str, grid: Sequence[Planned]) -> None:
    """Refuse arms that choose among more settings than others; one without any choice has none to make."""
    counts: dict[str, set[Any]] = {}
    for one in grid:
        counts.setdefault(one.trial.method, set()).add(str(sorted(one.trial.config.items())))
    choosing = {arm: len(found) for arm, found in counts.items() if len(found) > 1}
    if len(set(choosing.values())) > 1:
        said = ", ".join(f"{arm} {count}" for arm, count in choosing.items())
        raise UserError(
            f"{file}: world '{world}': arms choose among different numbers of settings ({said}); give each as many, "
            "or thin them with `budget: {trials: N}`."
        )


def _check_names(asked: Sequence[Asked], only: Sequence[str], worlds: Sequence[str]) -> None:
    firsts: dict[str, Asked] = {}
    for one in asked:
        first = firsts.setdefault(one.claim.name, one)
        if first.claim is not one.claim:  # in several worlds it is one claim
            raise UserError(
                f"{one.file}: claim '{one.claim.name}' has the name of one in {first.file}; give it another."
            )
        where = f"{one.file}: claim '{one.claim.name}': world '{one.world}'"
        check_measures(where, one.claim, one.sweep, here=not one.priced)
    for kind, given, known in (
        ("claim", only, list(firsts)),
        ("world", worlds, list(dict.fromkeys(one.world for one in asked))),
    ):
        for name in given:
            if name not in known:
                raise UserError(f"no {kind} '{name}'.{closest(name, known)} Known: {', '.join(known)}.")
