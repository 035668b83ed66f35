"""Scores of texts against sums written out, sample by sample."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import tiny_lm
import torch
from tiny_lm import copies, odd_one, rhyme, sum_task

from cl_forget.config.run import Run
from cl_forget.evaluation.evaluate import Evaluator
from cl_forget.evaluation.metrics import general_ability_delta, summary
from cl_forget.ground.records import Cost, Row, Scores, TaskScores
from cl_forget.models.causal_lm import CausalLM
from cl_forget.models.options import TextOptions
from cl_forget.run.simulate import simulate
from cl_forget.streams.scoring import Scoring
from cl_forget.training.frozen import FrozenCache, FrozenModel, Teacher, cut, teacher

TASK = sum_task()


def pair(top: int = 64) -> tuple[CausalLM, CausalLM]:
    """θ0, and a model that has moved away from it."""
    base, now = (tiny_lm.tiny_lm(TextOptions(top_logits=top)) for _ in range(2))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in now.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return base, now


def evaluator(base: CausalLM, now: CausalLM, suites: list) -> Evaluator:
    return Evaluator(now, FrozenModel(base), FrozenCache(None), [TASK], suites, [], batch_size=4)


def test_the_answers_are_kept_beside_right_and_wrong() -> None:
    base, now = pair()
    measured = evaluator(base, now, [odd_one()])
    measured.row(None, [], Cost())
    before = dict(measured.row_items)
    measured.row("sums", [], Cost())
    for name, data in ((TASK.name, TASK.test), (odd_one().name, odd_one().test)):
        now_right, said = (getattr(measured.row_items[name, "test"], field) for field in ("right", "said"))
        assert [
            word == response for word, response in zip(said, data.responses, strict=True)
        ] == now_right.tolist()
        was_right, known = (getattr(before[name, "test"], field) for field in ("right", "said"))
        # What the pre-trained model said is kept in the cache, its wrong answers too.
        assert [
            word == response for word, response in zip(known, data.responses, strict=True)
        ] == was_right.tolist()
        assert not was_right.all() and all(isinstance(word, str) for word in known)


def tokens(model: CausalLM, experience, index: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(tokens of the response, classes) log-probabilities, and the tokens."""
    samples = model.prepare(experience.test, experience, "test")
    ids, start = samples.table.sample(index), int(samples.table.response[index])
    with torch.no_grad():
        return model.lm(input_ids=ids[None]).logits[0, start - 1 : -1].double().log_softmax(-1), ids[start:]


def test_one_pass_gives_loss_kl_and_accuracy_of_each_kind() -> None:
    base, now = pair()
    row = evaluator(base, now, [copies(), odd_one(), rhyme()]).row("sums", [], Cost())
    for experience in (TASK, copies(), odd_one(), rhyme()):
        scores = {**row.tasks, **row.suites}[experience.name].test
        losses, divergences, every = [], [], []
        for i in range(len(experience.test)):
            (log_q, targets), (log_p, _) = tokens(now, experience, i), tokens(base, experience, i)
            nll = -log_q.gather(1, targets[:, None]).squeeze(1)
            losses.append(float(nll.mean()))
            every += nll.tolist()
            divergences.append(float((log_p.exp() * (log_p - log_q)).sum(1).mean()))
        assert scores.loss == pytest.approx(np.mean(losses), abs=1e-5)
        assert scores.kl_to_base == pytest.approx(np.mean(divergences), abs=1e-5)
        if experience.name == "rhyme":
            assert scores.perplexity == pytest.approx(math.exp(np.mean(every)), rel=1e-5)
            assert scores.accuracy is None and scores.hardest_decile_accuracy is None
        else:
            assert scores.perplexity is None and scores.accuracy is not None
        assert scores.ece is None


def test_row_zero_is_the_base_measured_from_the_cache() -> None:
    base, _ = pair()
    twin = tiny_lm.tiny_lm()
    frozen = FrozenModel(base)
    measure = Evaluator(twin, frozen, FrozenCache(None), [TASK], [odd_one(), rhyme()], [], batch_size=4)
    zero, again = measure.row(None, ["sums"], Cost()), measure.row("sums", [], Cost())
    run = frozen.samples_run
    measure.row(None, [], Cost())
    assert frozen.samples_run == run
    for name, scores in {**zero.tasks, **zero.suites}.items():
        other = {**again.tasks, **again.suites}[name]
        assert other.test.loss == pytest.approx(scores.test.loss, abs=1e-6)
        assert (other.test.accuracy, other.test.perplexity is None) == (
            scores.test.accuracy, scores.test.perplexity is None,
        )  # fmt: skip
        assert scores.test.kl_to_base == 0 and other.test.kl_to_base == pytest.approx(0, abs=1e-6)


def test_the_layout_changes_no_score() -> None:
    rows = []
    for packing in (False, True):
        model = tiny_lm.tiny_lm(TextOptions(packing=packing))
        frozen = FrozenModel(pair()[1])
        measure = Evaluator(model, frozen, FrozenCache(None), [TASK], [odd_one()], [], batch_size=7)
        rows.append(measure.row("sums", [], Cost()).model_dump(exclude={"cost"}))
    one, two = (
        torch.tensor([x["tasks"]["sums"]["test"][k] for k in ("loss", "accuracy", "kl_to_base")])
        for x in rows
    )
    torch.testing.assert_close(one, two, atol=1e-5, rtol=0)


# -- cut teachers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 6, 30])
def test_a_cut_divergence_is_too_low_by_the_divergence_within_the_rest(k: int) -> None:
    generator = torch.Generator().manual_seed(k)
    p, q = (3 * torch.randn(20, 54, generator=generator, dtype=torch.float64) for _ in range(2))
    for reverse in (False, True):
        whole = Teacher(p).kl(q, reverse)
        less = teacher(cut(p, k)).kl(q, reverse)
        rest = torch.ones_like(p, dtype=torch.bool).scatter(1, p.topk(k).indices, False)
        outer, inner = (q, p) if reverse else (p, q)
        mass = outer.softmax(-1)[rest].view(20, -1).sum(1)
        log_outer, log_inner = (x[rest].view(20, -1).log_softmax(-1) for x in (outer, inner))
        within = (log_outer.exp() * (log_outer - log_inner)).sum(1)
        torch.testing.assert_close(whole - less, mass * within)
        assert (less <= whole + 1e-12).all() and (less >= 0).all()


def test_what_is_kept_of_a_vocabulary_is_bounded() -> None:
    base, _ = pair(top=6)
    frozen = FrozenModel(base)
    samples = base.prepare(TASK.test, TASK, "test")
    found = FrozenCache(None).outputs(frozen, samples, ["top_logits", "top_ids", "rest"])
    units = int(samples.table.units.sum())
    assert found["top_logits"].shape == found["top_ids"].shape == (units, 6)
    assert found["rest"].shape == (units,)
    total = torch.cat([found["top_logits"], found["rest"][:, None]], 1).logsumexp(1)
    everything = torch.cat([base(batch).logits for batch in samples.batches(3)]).logsumexp(1)
    torch.testing.assert_close(total, everything)
    with pytest.raises(ValueError, match="keeps all logits"):
        FrozenModel(pair()[0]).run(samples.batch(torch.arange(2)), ["top_ids"])


def test_what_the_options_change_is_not_read_from_the_cache_of_others() -> None:
    samples = tiny_lm.tiny_lm().prepare(TASK.test, TASK, "test")
    cache = FrozenCache(None)
    found = []
    for options in (TextOptions(embedding="mean"), TextOptions(embedding="last")):
        frozen = FrozenModel(tiny_lm.tiny_lm(options))
        found.append(cache.outputs(frozen, samples, ["embedding"])["embedding"])
        torch.testing.assert_close(found[-1], frozen.model(samples.batch(torch.arange(7))).embedding)
    assert not torch.equal(*found)


# -- metrics -------------------------------------------------------------------------------------------


def test_general_ability_delta_by_hand() -> None:
    G = np.array([[0.50, 0.30, 0.70], [0.40, 0.35, 0.60], [0.20, 0.30, 0.40]])
    assert general_ability_delta(G) == pytest.approx([0, (-0.10 + 0.05 - 0.10) / 3, (-0.3 + 0 - 0.3) / 3])
    assert np.isnan(general_ability_delta(np.array([[0.5, np.nan], [0.4, 0.1]]))).all()


def row(after: str | None, suites: dict[str, Scores]) -> Row:
    task = TaskScores(validation=Scores(), test=Scores(accuracy=0.5))
    return Row(
        after=after,
        tasks={"t": task},
        suites={n: TaskScores(validation=s, test=s) for n, s in suites.items()},
    )


def test_a_perplexity_suite_stands_beside_generality_and_a_missing_one_is_missing() -> None:
    rows = [
        row(None, {"a": Scores(accuracy=0.8), "text": Scores(perplexity=10.0, loss=2.3)}),
        row("t", {"a": Scores(accuracy=0.6), "text": Scores(perplexity=20.0, loss=3.0)}),
    ]
    found = summary(rows, ["t"], ["a", "text"])
    assert found["generality"] == 0.6 and found["retention"] == pytest.approx(0.75)
    assert found["generality_by_suite"] == {"a": 0.6}
    assert found["general_ability_delta"] == pytest.approx(-0.2)
    assert found["perplexity_by_suite"] == {"text": 20.0}
    assert found["perplexity_rise_by_suite"] == {"text": pytest.approx(math.log(2))}
    assert found["perplexity_rise"] == pytest.approx(math.log(2))
    alone = summary([row(r.after, {"text": r.suites["text"].test}) for r in rows], ["t"], ["text"])
    assert alone["generality"] is None and alone["general_ability_delta"] is None
    rows[1].suites["a"] = TaskScores(validation=Scores(), test=Scores())
    assert summary(rows, ["t"], ["a", "text"])["generality"] is None


def test_the_same_seed_gives_the_same_bits() -> None:
    run = Run.parse({
        "model": "tiny-lm", "stream": {"sums": {"tasks": 1, "count": 8}}, "suites": ["odd-one", "rhyme"],
        "train": {"epochs": 2, "batch_size": 4, "lr": 1e-3}, "mitigations": ["l2_sp"],
    })  # fmt: skip
    one, two = (simulate(run).model_dump(include={"rows"}) for _ in range(2))
    for result in (one, two):
        for each in result["rows"]:
            del each["cost"]
    assert one == two


def half_right(prompt: str, said: str, reference: str) -> float:
    """A judge that grades: exact answers 1, all others a quarter."""
    return 1.0 if said == reference else 0.25


def test_a_judge_may_grade_and_an_item_is_right_above_one_half() -> None:
    base, now = pair()
    graded = replace(TASK, name="graded", scoring=Scoring("exact match", half_right))
    measured = evaluator(base, now, [graded])
    for row in (measured.row(None, [], Cost()), measured.row("sums", [], Cost())):
        exact, scores = row.tasks[TASK.name].test, row.suites["graded"].test
        assert scores.accuracy == pytest.approx(exact.accuracy + 0.25 * (1 - exact.accuracy))
        right = measured.row_items["graded", "test"].right
        assert right.tolist() == measured.row_items[TASK.name, "test"].right.tolist()
        assert (scores.lost, scores.gained) == (exact.lost, exact.gained)
