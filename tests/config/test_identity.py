"""What tells one run from another: fields that came later do not, as long as they stand at their defaults."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cl_forget.config.run import Run
from cl_forget.mitigations import MITIGATIONS
from cl_forget.run.simulate import simulate

LATER = [(name, field) for name in MITIGATIONS.names() for field in sorted(MITIGATIONS.get(name).later)]


def run(**fields: Any) -> Run:
    return Run.parse({"model": "emoji-clip", "stream": "digits", **fields})


@pytest.mark.parametrize(("name", "field"), LATER)
def test_a_later_field_counts_once_it_is_set(name: str, field: str) -> None:
    cls = MITIGATIONS.get(name)
    needed = {"reference": "colours"} if "reference" in cls.model_fields else {}
    default, annotation = cls.model_fields[field].default, cls.model_fields[field].annotation
    values = {bool: (True, False), int: (1,)}.get(annotation) or annotation.__args__
    other = next(value for value in values if value != default)
    plain, changed = cls(**needed), cls(**needed, **{field: other})
    assert field not in plain.identity and field in plain.model_dump()
    assert changed.identity == {**plain.identity, field: other}
    one, two = (run(mitigations=[m]) for m in (plain, changed))
    assert one.key() != two.key()
    assert (one.training_key() == two.training_key()) == cls.post_hoc


def test_the_order_of_the_list_makes_no_difference() -> None:
    assert run(mitigations=["sam", "l2_sp"]).key() == run(mitigations=["l2_sp", "sam"]).key()


def test_a_grid_of_probes_counts_once_it_is_set() -> None:
    assert run(evaluate={"probe_grid": None}).key() == run().key()
    assert run(evaluate={"probe_grid": [1.0]}).key() != run().key()
    assert run(evaluate={"probe_grid": [1.0]}).training_key() == run().training_key()


def test_probes_are_fitted_with_the_grid_asked_for(tiny_run: Callable[..., Run]) -> None:
    evaluate = {"curves": False, "probe_grid": [0.25]}
    train = {"epochs": 1, "batch_size": 24, "lr": 1e-3}
    result = simulate(tiny_run(evaluate=evaluate, train=train, suites=[], stream={"squares": {"tasks": 1}}))
    assert {row.probes["colour-probe"].c for row in result.rows} == {0.25}
