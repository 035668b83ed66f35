"""A sweep that is tuned on one stream and reported on another: numbers of the two are never mixed."""

from __future__ import annotations

import pytest
from records import trial

from cl_forget.comparison.analysis import sweep_summary
from cl_forget.comparison.measures import PRETRAINED
from cl_forget.comparison.trials import Trial
from cl_forget.reporting import specify_sweep
from cl_forget.reporting.specification import Tradeoff


def made(method: str, value: float | None, at: tuple[float, float], task: str, seed: int, role: str) -> Trial:
    """A trial on task a or b, where the pre-trained model reads .9 and .6."""
    one = trial(method, value, seed, at, role=role)
    here = {"speciality_by_task": {task: at[0]}, "speciality_pretrained": {"a": 0.9, "b": 0.6}[task]}
    return one.model_copy(update={"test": one.test | here, "validation": one.validation | here})


def tuned() -> list[Trial]:
    """On task a: an arm with a knob, and one without."""
    curve = [made("L2-SP", v, (s, 0.4), "a", 10, "tune") for v, s in {0.1: 0.95, 1.0: 0.85}.items()]
    return [*curve, made("linear probe", None, (0.9, 0.5), "a", 10, "tune")]


def reported(method: str, value: float | None, at: tuple[float, float]) -> list[Trial]:
    """On task b, three seeds."""
    return [made(method, value, at, "b", seed, "report") for seed in (0, 1, 2)]


PROBE = ("linear probe", None, (0.6, 0.5))


def test_streams_of_tuning_and_of_the_report_do_not_stand_in_one_picture() -> None:
    trials = [*tuned(), *reported(*PROBE), *reported("L2-SP", 0.1, (0.7, 0.3))]
    found = specify_sweep(trials)
    figure = found.item("tradeoff")
    assert isinstance(figure, Tradeoff)
    lines = [
        dict(zip(figure.folded, line, strict=True)) for line in zip(*figure.folded.values(), strict=True)
    ]
    reached = {e["method"]: (e["mean"], e["count"]) for e in lines if e["measure"] == "speciality"}
    assert reached == {
        "L2-SP": (pytest.approx(0.7), 3), "linear probe": (pytest.approx(0.6), 3), PRETRAINED: (0.6, 1),
    }  # fmt: skip
    assert all(method.seeds == (0, 1, 2) for method in found.methods if method.name != PRETRAINED)
    assert sweep_summary(trials).pretrained == (0.6, 0.5)


def test_an_arm_whose_report_is_still_to_come_has_no_number_beside_those_that_have_theirs() -> None:
    found = {m.method: m for m in sweep_summary([*tuned(), *reported(*PROBE)]).methods}
    assert found["linear probe"].values["speciality"].mean == pytest.approx(0.6)
    assert found["L2-SP"].values["speciality"].mean is None and found["L2-SP"].runs == {}
