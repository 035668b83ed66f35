"""Runs made for something else that a plan takes over, and what it refuses."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import claim_samples as small
import pytest
import yaml

from cl_forget.claims.order import slices
from cl_forget.claims.planning import plan
from cl_forget.claims.reuse import Reuse, trial_of
from cl_forget.claims.running import run
from cl_forget.comparison.records import Result
from cl_forget.comparison.trials import load_trials
from cl_forget.config.run import Run
from cl_forget.ground.errors import UserError
from cl_forget.ground.records import Fingerprints, Row, Scores, TaskScores
from cl_forget.sweeps.cluster import Resources

TRIED: dict[str, Any] = {
    "model": "tiny-clip",
    "stream": ["squares"],
    "suites": ["colours"],
    "train": {"epochs": 1, "batch_size": 8, "head": "probe"},
    "evaluate": {"curves": True, "export": True},
    "track": {"project": "another"},
}

SCORES = TaskScores(validation=Scores(accuracy=0.5, samples=2), test=Scores(accuracy=0.5, samples=2))


def result(folder: Path, name: str, weights: str = "w", **fields: Any) -> Path:
    """A run's folder with its result."""
    run = Run(**{**TRIED, **fields})
    found = Result(
        method=run.method,
        seed=run.seed,
        model=run.model,
        run=json.loads(run.model_dump_json()),
        tasks=["squares"],
        suites=["colours"],
        rows=[Row(after=None, tasks={"squares": SCORES}, suites={"colours": SCORES})],
        metrics={"test": small.measured(0.9, 0.3), "validation": small.measured(0.8, 0.3)},
        fingerprints=Fingerprints(model=weights, data={"squares": "s"}),
    )
    place = folder / name
    place.mkdir(parents=True)
    (place / "result.json").write_text(found.model_dump_json())
    return place


def l2(strength: float = 1.0, lr: float = 1e-3, **fields: Any) -> dict[str, Any]:
    own = {"method": "L2-SP", "mitigations": [{"l2_sp": strength}], "seed": 2, **fields}
    return {**own, "train": {**TRIED["train"], "lr": lr, **own.get("train", {})}}


@pytest.fixture
def made(tmp_path):
    return plan([small.write(tmp_path / "paper", small.FORGETS, small.KEEPS)])


def test_a_run_that_differs_in_bookkeeping_alone_is_the_trial(made, tmp_path):
    folder = result(tmp_path / "runs", "one", **l2())
    found = Reuse(made, [tmp_path / "runs"]).look({})
    [(name, (trial, place))] = found.items()
    assert place == folder and trial.status == "finished" and trial.test["generality"] == 0.3
    assert trial.config == {"train.lr": 1e-3, "l2_sp.strength": 1.0} and trial.role == "report"
    best = small.finished(
        made, lambda t: small.measured(0.9 - abs(t.config.get("l2_sp.strength", 1) - 1), t.config["train.lr"])
    )
    assert name in best  # the id that the plan asks for


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (l2(train={"epochs": 2}), "train.epochs was 2 and is 1"),
        (l2(strength=0.3), "l2_sp.strength = 0.3 is not on the grid"),
        (l2(seed=9), "seed 9 is not reported"),
        (l2(stream=["other-colours"]), "stream"),
        (l2(evaluate={"limit": 5}), "evaluate.limit"),
        (l2(method="L2"), "no arm is named 'L2'"),
    ],
)
def test_any_other_difference_is_refused_and_said(made, tmp_path, fields, said):
    result(tmp_path / "runs", "one", **fields)
    lines: list[str] = []
    assert Reuse(made, [tmp_path / "runs"], lines.append).look({}) == {}
    assert said in lines[0] and "left out" in lines[0]


def test_other_weights_are_never_mixed(made, tmp_path):
    result(tmp_path / "runs", "one", **l2())
    result(tmp_path / "runs", "two", weights="others", **l2(seed=3))
    lines: list[str] = []
    assert len(Reuse(made, [tmp_path / "runs"], lines.append).look({})) == 1
    assert "the base model's weights are others" in lines[0]


def test_of_several_places_the_first_counts(made, tmp_path):
    folder = result(tmp_path / "runs", "one", **l2())
    [(name, (trial, _))] = Reuse(made, [tmp_path / "runs"]).look({}).items()
    more = trial.model_copy(update={"test": {**trial.test, "sam_gap": 0.1}})  # measured after the run
    more.save(tmp_path / "sweep")
    for places, kept in (
        ([tmp_path / "sweep", folder.parent], True),
        ([folder.parent, tmp_path / "sweep"], False),
    ):
        found = Reuse(made, places).look({})[name][0]
        assert ("sam_gap" in found.test) == kept


def test_what_an_experiment_makes_is_not_made_twice(made, tmp_path):
    methods = {"L2-SP": {"mitigations": [{"l2_sp": 1.0}], "train": {"lr": 1e-3}}}
    file = tmp_path / "experiment.yaml"
    file.write_text(yaml.safe_dump({**TRIED, "methods": methods, "seeds": [0, 1]}))
    coming = Reuse(made, [file]).coming
    sweep = next(iter(made.needed.values())).sweep
    assert coming == {trial_of(sweep, Run(**{**TRIED, **l2(seed=seed)})).trial.id for seed in (0, 1)}


def test_a_cluster_leaves_out_what_an_experiment_makes_and_takes_what_is_there_by_then(
    made, tmp_path, monkeypatch
):
    methods = {"L2-SP": {"mitigations": [{"l2_sp": 1.0}], "train": {"lr": 1e-3}}}
    file = tmp_path / "experiment.yaml"
    file.write_text(yaml.safe_dump({**TRIED, "methods": methods, "seeds": [0, 1, 2]}))
    coming = Reuse(made, [file]).coming
    worked: list[str] = []

    class Works:
        """In the place of a driver: every trial ends at once."""

        def __init__(self, *given: Any, **named: Any) -> None:
            """Needs none of it."""

        def work_through(self, trials: list[Any]) -> None:
            if not worked:  # meanwhile somebody else has made a run
                result(tmp_path / "runs", "one", **l2())
            for one in trials:
                worked.append(one.trial.id)
                chosen = small.measured(0.9 - abs(one.trial.config.get("l2_sp.strength", 1) - 1), 0.3)
                state = {"status": "finished", "validation": chosen, "test": chosen}
                one.trial.model_copy(update=state).save(tmp_path / "out")

    monkeypatch.setattr("cl_forget.sweeps.runner.Driver", Works)
    monkeypatch.setattr("cl_forget.sweeps.cluster.ray_runtime", nullcontext)
    (tmp_path / "runs").mkdir()
    assert run(made, tmp_path / "out", [], cluster=Resources("auto"), reuse=[file, tmp_path / "runs"])
    assert len(coming) == 3 and not coming & (set(worked) - {found_of(made, tmp_path)})
    here = {trial.id for trial in load_trials(tmp_path / "out")}
    assert coming & here == {found_of(made, tmp_path)}
    assert here - coming == set(worked) - coming and any("-report-" in name for name in here - coming)


def found_of(made: Any, folder: Path) -> str:
    """The id of the trial that the run made meanwhile is."""
    [name] = Reuse(made, [folder / "runs"]).look({})
    return name


def test_a_sweeps_records_count_as_they_stand(made, tmp_path):
    trial = made.tuning()[0].trial.model_copy(update={"status": "finished"})
    trial.save(tmp_path / "sweep")
    assert list(Reuse(made, [tmp_path / "sweep"]).look({})) == [trial.id]
    with pytest.raises(UserError, match="to reuse"):
        Reuse(made, [tmp_path / "nowhere"])


def test_what_settles_most_for_its_price_comes_first(tmp_path):
    free = {**small.FORGETS, "name": "free", "less": "linear probe"}
    dear = {**small.KEEPS, "name": "dear", "measure": "hypervolume"}
    cheap = {**small.KEEPS, "name": "cheap", "less": "full fine-tuning"}
    made = plan([small.write(tmp_path, dear, cheap, small.FORGETS, free)])
    trials = small.finished(made, lambda t: small.measured(0.9, 0.4))
    known = {name: trial for name, trial in trials.items() if trial.method == "linear probe"}
    found = slices(made, known)
    assert found[0].asked.claim.name == "free" and found[0].price == 0
    assert [piece.asked.claim.name for piece in found].index("dear") == 3
    assert sum(piece.trials for piece in found) == len(trials) - len(known)
    assert all(piece.price == 0 for piece in slices(made, trials))
    elsewhere = [name for name, trial in trials.items() if trial.method == "WiSE-FT"]
    assert sum(piece.trials for piece in slices(made, known, elsewhere)) == sum(
        trial.method in ("full fine-tuning", "L2-SP") for trial in trials.values()
    )
