"""Plans of many trials are made by the setting; they are those that are made trial by trial."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Sequence
from typing import Any

import pytest

from cl_forget.comparison.trials import Role
from cl_forget.config.run import Run, without_bookkeeping
from cl_forget.config.sweep import Sweep
from cl_forget.sweeps import sources
from cl_forget.sweeps.planning import Planned, plan_grid, plan_report, planned, saved, share

FIELDS: dict[str, Any] = {
    "model": "tiny-clip",
    "stream": ["squares", "colour-probe"],
    "suites": ["colours"],
    "methods": {
        "WiSE-FT": ["wise_ft"],
        "LDIFS + WiSE-FT": [{"ldifs": {"strength": 10}}, "wise_ft"],
        "joint": {"mitigations": ["joint", "wise_ft"], "train": {"epochs": 2}},
        "L2-SP": ["l2_sp"],
    },
    "space": {
        "wise_ft.alpha": [0.25, 0.5, 1, 1.0],
        "l2_sp.strength": [0, 0.1],
        "train.lr": {"grid": [1e-3, 1e-2], "methods": ["L2-SP"]},
    },
    "seeds": [3, 1],
    "report_on": {"stream": ["squares", "other-colours"], "seeds": [1, 5]},
}


def plainly(sweep: Sweep) -> list[Planned]:
    """Trial by trial."""
    grid = [one for one in plan_grid(sweep) if one.trial.seed == sweep.tuning_seeds[0]]
    settings = [(one.trial.method, one.trial.config) for one in grid]
    assert sweep.report_on is not None
    roles: list[tuple[Role, list[int] | None]] = [("tune", sweep.seeds), ("report", sweep.report_on.seeds)]
    return [
        planned(sweep, arm, config, seed, role)
        for role, seeds in roles
        for seed in seeds or []
        for arm, config in settings
    ]


def givers(trials: Sequence[Planned]) -> dict[str, tuple[str | None, int]]:
    """Who takes what from whom, each compared with each before it, the groups one after the other."""
    groups: dict[str, list[Planned]] = {}
    for one in trials:
        groups.setdefault(one.run.training_keys()[0], []).append(one)
    found: dict[str, tuple[str | None, int]] = {}
    for group in groups.values():
        order = list(dict.fromkeys(one.run.training_key() for one in group))
        group.sort(key=lambda one: (-len(one.run.specs()), order.index(one.run.training_key())))
        for index, taker in enumerate(group):
            shares = [taker.run.shared_specs(giver.run.training_keys()) for giver in group[:index]]
            most = max(shares, default=0)
            found[taker.trial.id] = (group[shares.index(most)].trial.id if most else None), most
    return found


def test_a_plan_by_the_setting_is_the_plan_trial_by_trial() -> None:
    sweep = Sweep(**FIELDS)
    alone = plainly(sweep)
    first = [one for one in plan_grid(sweep) if one.trial.seed == 3]
    choices: Any = {}
    for one in first:
        choices.setdefault(one.trial.method, (None, one.trial.config))
    together = [*plan_grid(sweep), *plan_report(sweep, choices)]
    assert [one.trial.id for one in plan_grid(sweep)] == [
        one.trial.id for one in alone if one.trial.role == "tune"
    ]
    by_id = {one.trial.id: one for one in alone}
    for one in together:
        other = by_id[one.trial.id]
        assert one.trial == other.trial and one.run == other.run
        assert one.training_keys == one.run.training_keys() == other.run.training_keys()


def test_givers_are_those_that_a_comparison_of_each_with_each_finds() -> None:
    trials = plainly(Sweep(**FIELDS))
    expected = givers(trials)
    groups = share(trials)
    assert {one.trial.id: (one.trial.shared_with, one.trial.shared_stages) for one in trials} == expected
    assert sum(map(len, groups)) == len(trials) and saved(trials).fine_tunes < len(trials)
    assert {stages for _, stages in expected.values()} == {0, 1, 2}


def test_a_key_is_the_hash_of_the_whole_run() -> None:
    for one in plan_grid(Sweep(**FIELDS)):
        fields = without_bookkeeping(one.run.model_dump(mode="json"))
        fields["mitigations"] = [
            {m.name: m.identity} for m in sorted(one.run.mitigations, key=lambda m: m.name)
        ]
        text = json.dumps(fields, sort_keys=True)
        assert one.run.key() == hashlib.sha256(text.encode()).hexdigest()[:12]
        other = Run.parse({**one.run.model_dump(), "seed": 2**32 - 1})
        assert one.run.unseeded_key().at(2**32 - 1) == other.key() != one.run.key()


def test_what_is_worked_out_of_a_setting_does_not_travel() -> None:
    one = plan_grid(Sweep(**FIELDS))[0]
    before = len(pickle.dumps(one))
    assert one.training_keys and one.facts.chain is one.facts.chain
    assert len(pickle.dumps(one)) == before
    assert pickle.loads(pickle.dumps(one)).training_keys == one.training_keys


def test_a_worker_unfolds_the_groups_that_it_works_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "TOGETHER", 2)
    grid = sources.Grid(share(plan_grid(Sweep(**FIELDS))), judged=True, units=9)
    there = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(grid))))
    assert (there.judged, there.units, there.score) == (True, 9, grid.score)
    for number, group in enumerate(grid.groups):
        assert there.group({"group": number}) == group == grid.group({"group": number})
    unfolded: list[bytes] = []

    def unfold(piece: bytes) -> list[Any]:
        unfolded.append(piece)
        return [None, "second"]

    monkeypatch.setattr(sources.pickle, "loads", unfold)
    assert there.group({"group": 3}) == "second" and unfolded == [there._folded[1]]
