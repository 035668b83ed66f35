"""What a repair answers, from samples made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from cl_forget.auditing.bench import Measured, range_of
from cl_forget.auditing.records import Candidate, Point
from cl_forget.auditing.repair import choose
from cl_forget.auditing.verdict import judge
from cl_forget.evaluation.items import Items

GROUPS = {"speciality": ["task"], "generality": ["suite"], "fluency": []}


def model(task: int, suite: int, count: int) -> Measured:
    items = {"task": Items(right=np.arange(count) < task), "suite": Items(right=np.arange(count) < suite)}
    ranges = {"speciality": range_of(items, ["task"]), "generality": range_of(items, ["suite"])}
    point = Point(speciality=task / count, generality=suite / count, qualities={}, ranges=ranges)
    return Measured(point, items, GROUPS)


def answer(
    base: Measured,
    tuned: Measured,
    edit: Measured,
    share: float = 0.5,
    keep: float | None = None,
    **test: Measured,
) -> str:
    chosen = Candidate(
        method="wise_ft", knob="alpha", setting=share, shares={"all": share}, validation=edit.point
    )
    on_test = {"base": base, "tuned": tuned, "repaired": edit} | test
    items = {name: one.items for name, one in on_test.items()}
    verdict, reason = judge((base, tuned), edit, chosen, keep, items)
    assert reason.endswith(".") and "\n" not in reason
    return verdict


@pytest.mark.parametrize(
    ("base", "tuned", "edit", "count", "expected"),
    [
        ((100, 800), (950, 400), (940, 700), 1000, "repaired"),
        ((100, 800), (950, 800), (940, 810), 1000, "nothing to repair"),
        ((100, 800), (950, 810), (940, 820), 1000, "nothing to repair"),
        ((100, 800), (100, 400), (100, 700), 1000, "the tuned model has learnt nothing"),
        ((300, 800), (100, 400), (200, 700), 1000, "the tuned model has learnt nothing"),
        ((0, 12), (1, 6), (0, 12), 22, "too few samples to tell"),
        ((2, 12), (15, 10), (14, 12), 16, "too few samples to tell"),
        ((2, 15), (15, 4), (14, 6), 16, "too few samples to tell"),
        ((100, 800), (950, 400), (950, 400), 1000, "no edit brings it back"),
        ((100, 800), (950, 400), (945, 390), 1000, "no edit brings it back"),
    ],
)
def test_answers(
    base: tuple[int, int], tuned: tuple[int, int], edit: tuple[int, int], count: int, expected: str
) -> None:
    assert answer(*(model(*one, count) for one in (base, tuned, edit))) == expected


def of_texts(task: int, loss: float, spread: float = 0.5) -> Measured:
    """A suite that is measured by perplexity, at so many nats per token, some samples far above it."""
    rows = np.arange(200)
    losses = np.where(rows % 4 == 0, loss + 3 * spread, loss - spread)
    items = {"task": Items(right=rows < task), "suite": Items(losses=losses, tokens=np.full(200, 10))}
    groups = {"speciality": ["task"], "generality": [], "fluency": ["suite"]}
    point = Point(speciality=task / 200, generality=None, fluency=items["suite"].value, qualities={})
    return Measured(point, items, groups)


@pytest.mark.parametrize(
    ("tuned", "edit", "expected"),
    [
        (of_texts(160, 7.6), of_texts(160, 6.1), "repaired"),
        (of_texts(160, 6.0), of_texts(160, 6.0), "nothing to repair"),
        # 0.06 nats more of a perplexity of 400 are 0.01 points of 1/perplexity, and a loss all the same.
        (of_texts(160, 6.06, 0.9), of_texts(160, 6.0), "too few samples to tell"),
    ],
)
def test_a_loss_of_perplexity_is_weighed_in_nats(tuned: Measured, edit: Measured, expected: str) -> None:
    assert answer(of_texts(80, 6.0), tuned, edit) == expected


def test_the_tuned_model_itself_is_no_repair() -> None:
    ends = model(100, 800, 1000), model(950, 400, 1000)
    assert answer(*ends, model(950, 700, 1000), share=1.0) == "no edit brings it back"


def test_what_does_not_hold_on_test_data_is_no_repair() -> None:
    ends = model(100, 800, 1000), model(950, 400, 1000)
    edit, worse = model(945, 700, 1000), model(800, 700, 1000)
    assert answer(*ends, edit) == "repaired"
    assert answer(*ends, edit, repaired=worse) == "no edit brings it back"
    assert answer(*ends, edit, keep=0.8, repaired=worse) == "repaired", "so much was given up by the user"
    assert answer(*ends, edit, keep=0.98, repaired=worse) == "no edit brings it back"


def test_an_edit_below_the_tuned_models_interval_is_never_chosen() -> None:
    """1 of 22 right, and an edit that has forgotten it: the largest mean of both shares, but no repair."""
    base, tuned, gone = model(0, 20, 22), model(1, 2, 22), model(0, 20, 22)
    candidates = [
        Candidate(method="wise_ft", knob="alpha", setting=s, shares={"all": s}, validation=m.point)
        for s, m in ((1.0, tuned), (0.0, gone))
    ]
    assert choose(candidates, base.point, tuned.point, None)[0] == 0
    candidates[1] = candidates[1].model_copy(update={"validation": model(18, 20, 22).point})
    tuned = model(20, 2, 22)
    candidates[0] = candidates[0].model_copy(update={"validation": tuned.point})
    assert choose(candidates, base.point, tuned.point, None)[0] == 1, "within the interval it is"


def test_samples_that_are_not_seen_one_by_one_give_an_answer_without_intervals() -> None:
    def blind(task: float, suite: float) -> Measured:
        return Measured(Point(speciality=task, generality=suite, qualities={}), {}, GROUPS)

    base, tuned = blind(0.1, 0.8), blind(0.9, 0.4)
    assert answer(base, tuned, blind(0.9, 0.7)) == "repaired"
    assert answer(base, tuned, blind(0.9, 0.4)) == "no edit brings it back"
    assert answer(base, blind(0.9, 0.9), blind(0.9, 0.9)) == "nothing to repair"
    assert answer(base, blind(0.1, 0.4), blind(0.1, 0.7)) == "the tuned model has learnt nothing"
