import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cl_forget.evaluation import metrics as m
from cl_forget.evaluation.definitions import DEFINITIONS
from cl_forget.ground.records import Drift, ProbeScores, Row, Scores, TaskScores

TASKS = ["a", "b", "c"]
NAN = math.nan
#                  task 1  2    3
R = np.array([[0.3, 0.4, 0.5],  # pre-trained
              [0.9, 0.5, 0.4],  # after task 1
              [0.7, 0.8, 0.3],  # after task 2
              [0.6, 0.7, 0.9]])  # after task 3  # fmt: skip
JOINT = np.array([[0.3, 0.4, 0.5], [NAN] * 3, [NAN] * 3, [0.8, 0.7, 0.9]])


# Hand-worked matrices


def test_forgetting_last_compares_with_the_accuracy_right_after_training():
    # .9 - .6 and .8 - .7; the last task has had no time to be forgotten
    np.testing.assert_allclose(m.forgetting_last(R), [0.3, 0.1])
    # BWT = -(.3 + .1) / 2
    assert m.bwt(R) == pytest.approx(-0.2)


def test_forgetting_max_counts_the_pretrained_row():
    # max(.3 .9 .7 .6) - .6, max(.4 .5 .8 .7) - .7, max(.5 .4 .3 .9) - .9
    np.testing.assert_allclose(m.forgetting_max(R), [0.3, 0.1, 0.0], atol=1e-12)
    # the pre-trained model knew task 1 best: .95 - .6
    better_before = R.copy()
    better_before[0, 0] = 0.95
    assert m.forgetting_max(better_before)[0] == pytest.approx(0.35)
    assert m.forgetting_last(better_before)[0] == pytest.approx(0.3)


def test_forward_transfer_is_measured_just_before_training_against_the_pretrained_row():
    # task 2: R[1,2] - R[0,2] = .5 - .4; task 3: R[2,3] - R[0,3] = .3 - .5
    np.testing.assert_allclose(m.forward_transfer(R), [0.1, -0.2])


def test_mtil():
    # Transfer: task 2: .5; task 3: (.4 + .3) / 2 = .35; mean .425
    assert m.mtil_transfer(R) == pytest.approx(0.425)
    # Avg: task 1 (.9+.7+.6)/3 = 2.2/3, task 2 (.5+.8+.7)/3 = 2/3, task 3 (.4+.3+.9)/3 = 1.6/3; mean 5.8/9
    assert m.mtil_avg(R) == pytest.approx(5.8 / 9)
    # Last: (.6 + .7 + .9) / 3
    assert m.mtil_last(R) == pytest.approx(2.2 / 3)


def test_a_suite_that_was_not_measured_at_the_end_leaves_means_over_suites_missing():
    def measured(*accuracies):
        scores = [Scores(accuracy=a, lost=0.1, gained=0.1, choices=2) for a in accuracies]
        return {name: TaskScores(validation=s, test=s) for name, s in zip("ab", scores, strict=False)}

    rows = [
        Row(after=None, tasks=measured(0.5), suites=measured(0.8, 0.8)),
        Row(after="a", tasks=measured(0.9), suites=measured(0.7)),
    ]
    found = m.summary(rows, ["a"], ["a", "b"])
    for name in ("f_true", "bt_true", "generality", "generality_adjusted", "retention"):
        assert found[name] is None, name
    # .1 - .2 · .3 / 1 of what is known
    assert found["f_true_by_suite"] == {"a": pytest.approx(0.04), "b": None}


def test_tasks_and_suites_may_be_named_by_one_list():
    names = ["a"]
    scores = {"a": TaskScores(validation=Scores(), test=Scores(accuracy=0.75, choices=2))}
    rows = [Row(after=after, tasks=scores, suites=scores) for after in (None, "a")]
    assert m.summary(rows, names, names)["speciality_adjusted"] == pytest.approx(0.5)


def test_joint_training_has_no_forgetting_but_a_last_row():
    assert m.mtil_last(JOINT) == pytest.approx(0.8)
    assert np.isnan(m.forgetting_last(JOINT)).all()
    assert np.isnan(m.forgetting_max(JOINT)).all()
    assert m.bwt(JOINT) is m.mtil_avg(JOINT) is m.mtil_transfer(JOINT) is None


def test_a_single_task_has_no_transfer_and_no_forgetting_before_it():
    single = [[0.3], [0.9]]
    assert m.bwt(single) is m.mtil_transfer(single) is None
    assert m.forgetting_last(single).size == m.forward_transfer(single).size == 0
    np.testing.assert_allclose(m.forgetting_max(single), [0.0])


def test_a_matrix_without_the_pretrained_row_is_refused():
    with pytest.raises(ValueError, match="row 0 = pre-trained"):
        m.bwt(R[1:])


def test_no_metric_changes_its_argument():
    before = R.copy()
    for function in (m.forgetting_last, m.forgetting_max, m.bwt, m.forward_transfer, m.mtil_transfer):
        function(R)
    for function in (m.mtil_avg, m.mtil_last, m.generality_drop, m.delta, m.retention):
        function(R)
    m.pareto_front(R[:, :2])
    np.testing.assert_array_equal(R, before)
    logits = np.array([[1.0, 2.0]])
    m.kl_divergence(logits, logits)
    np.testing.assert_array_equal(logits, [[1.0, 2.0]])


def test_generality():
    G = np.array([[0.8, 0.6], [0.4, 0.3]])
    np.testing.assert_allclose(m.generality_drop(G), [[0, 0], [0.4, 0.3]])
    np.testing.assert_allclose(m.delta(G), [[0, 0], [-0.4, -0.3]])
    # (.4 + .3) / (.8 + .6) = .5, a ratio of means
    assert m.retention(G) == pytest.approx(0.5)
    assert m.retention([[0.0], [0.1]]) is None
    assert m.retention([[0.5, NAN], [0.1, 0.2]]) is None


def test_mean_is_missing_when_a_part_is():
    assert m.mean([0.2, 0.4]) == pytest.approx(0.3)
    assert m.mean([0.2, None]) is None
    assert m.mean([0.2, NAN]) is None
    assert m.mean([]) is None


# Per-sample metrics


def test_ece():
    # Bins of 1/15: .5 and .52 fall into (7/15, 8/15], .9 into (13/15, 14/15].
    # Bin 1: accuracy 1/2, confidence .51, weight 2/3 -> .01 * 2/3; bin 2: |1 - .9| * 1/3
    assert m.expected_calibration_error([0.5, 0.52, 0.9], [1, 0, 1]) == pytest.approx((0.02 + 0.1) / 3)


def test_ece_edges():
    # 0 belongs to the first bin, 1 to the last; both perfectly calibrated here
    assert m.expected_calibration_error([0.0, 1.0], [0, 1]) == 0.0
    assert m.expected_calibration_error([1.0, 1.0], [0, 0]) == 1.0
    assert m.expected_calibration_error([], []) is None
    assert m.expected_calibration_error([NAN], [1]) is None


def test_hardest_decile_rounds_up_and_ties_go_to_the_first():
    # 11 samples: ceil(1.1) = 2 hardest, at positions 3 (loss 9) and 0 (loss 5, the first of a tie)
    losses = [5, 1, 1, 9, 5, 1, 1, 1, 1, 1, 1]
    correct = [True, 0, 0, False, 0, 0, 0, 0, 0, 0, 0]
    assert m.hardest_decile_accuracy(losses, correct) == 0.5
    assert m.hardest_decile_accuracy([], []) is None


def test_kl():
    # p = (1/2, 1/2), q = (1/4, 3/4): .5 ln 2 + .5 ln(2/3)
    expected = 0.5 * math.log(2) + 0.5 * math.log(2 / 3)
    np.testing.assert_allclose(m.kl_divergence([[0.0, 0.0]], [[0.0, math.log(3)]]), [expected])


def test_kl_is_stable_and_knows_impossible_classes():
    # logits far beyond exp's range: p = (1, 0), q = (0, 1) up to e^-2000, KL = 2000
    np.testing.assert_allclose(m.kl_divergence([[2000.0, 0.0]], [[0.0, 2000.0]]), [4000.0 - 2000.0])
    np.testing.assert_allclose(m.kl_divergence([[0.0, -math.inf]], [[0.0, -math.inf]]), [0.0])
    # p = (1, 0), q = (1/2, 1/2): ln 2;  the other way round q rules out what p allows
    np.testing.assert_allclose(m.kl_divergence([[0.0, -math.inf]], [[0.0, 0.0]]), [math.log(2)])
    assert m.kl_divergence([[0.0, 0.0]], [[0.0, -math.inf]])[0] == math.inf


@given(st.lists(st.floats(-50, 50), min_size=3, max_size=3), st.floats(-1e3, 1e3))
def test_kl_is_nonnegative_and_ignores_a_shift_of_the_logits(q, shift):
    p = [[1.0, -2.0, 0.5]]
    value = m.kl_divergence(p, [q])
    assert value[0] >= 0
    np.testing.assert_allclose(m.kl_divergence(p, [[x + shift for x in q]]), value, atol=1e-9)
    assert m.kl_divergence([q], [q])[0] == 0


# Trade-offs

points = st.lists(
    st.tuples(st.sampled_from([0.0, 0.1, 0.2, 0.5, 0.9, 1.0]), st.floats(0, 1)), min_size=1, max_size=12
)


def dominates(p, q):
    return p[0] >= q[0] and p[1] >= q[1] and tuple(p) != tuple(q)


def test_pareto_front():
    cloud = [(0.9, 0.2), (0.5, 0.6), (0.5, 0.5), (NAN, 1.0), (0.2, 0.9), (0.1, 0.9)]
    # (.5, .5) loses to (.5, .6), (.1, .9) to (.2, .9); ordered by rising speciality
    assert m.pareto_front(cloud).tolist() == [4, 1, 0]
    assert m.pareto_front([(1, 1), (1, 1)]).tolist() == [1, 0]
    assert m.pareto_front([]).tolist() == []


@given(points)
def test_the_front_is_exactly_the_points_nothing_dominates(cloud):
    expected = {i for i, p in enumerate(cloud) if not any(dominates(q, p) for q in cloud)}
    front = m.pareto_front(cloud).tolist()
    assert set(front) == expected
    assert [cloud[i][0] for i in front] == sorted(cloud[i][0] for i in front)


def test_hypervolume():
    # above (.1, 0): (.5, .8) covers .4 x .8 = .32, (.9, .3) adds .4 x .3 = .12; (.4, .7) adds nothing
    assert m.hypervolume([(0.9, 0.3), (0.5, 0.8), (0.4, 0.7)], (0.1, 0.0)) == pytest.approx(0.44)
    assert m.hypervolume([(0.05, 0.9)], (0.1, 0.0)) == 0.0
    assert m.hypervolume([(NAN, 0.9)], (0.1, 0.0)) is None


@given(points, st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_hypervolume_never_falls_with_a_point_and_rises_only_off_the_front(cloud, extra):
    before, after = m.hypervolume(cloud, (0, 0)), m.hypervolume([*cloud, extra], (0, 0))
    assert after >= before - 1e-12
    if any(dominates(p, extra) for p in cloud):
        assert after == pytest.approx(before)


@given(points)
def test_hypervolume_against_counting_cells(cloud):
    xs, ys = sorted({0.0, *(p[0] for p in cloud)}), sorted({0.0, *(p[1] for p in cloud)})
    cells = 0.0
    for x0, x1 in pairwise(xs):
        for y0, y1 in pairwise(ys):
            if any(p[0] >= x1 and p[1] >= y1 for p in cloud):
                cells += (x1 - x0) * (y1 - y0)
    assert m.hypervolume(cloud, (0, 0)) == pytest.approx(cells)


def test_curves_are_read_by_linear_interpolation():
    # (speciality, retention) as the knob turns
    curve = [(0.95, 0.4), (0.85, 0.8), (0.35, 1.0)]
    # .6 is half way from .4 to .8: speciality half way from .95 to .85
    assert m.target_at_equal_retention(curve, 0.6) == pytest.approx(0.90)
    # .45 is one fifth of the way from .35 to .85: retention 1 - .2 / 5
    assert m.retention_at_equal_target(curve, 0.45) == pytest.approx(0.96)
    assert m.target_at_equal_retention(curve, 0.8) == 0.85
    assert m.target_at_equal_retention(curve, 0.3) is None
    assert m.target_at_equal_retention([], 0.3) is None


def test_the_best_of_several_crossings_counts():
    # crosses .5 going up at speciality .2 and going down at .8
    assert m.target_at_equal_retention([(0.1, 0.0), (0.3, 1.0), (0.7, 1.0), (0.9, 0.0)], 0.5) == (
        pytest.approx(0.8)
    )


def test_effective_robustness_is_the_residual_of_the_baseline_line():
    # logits: .5 -> 0, .2 -> -ln 4, .8 -> ln 4.  Line through (0, -ln 4) and (ln 4, 0): y = x - ln 4
    # at ID = .8, OOD = .5 the residual is 0; at OOD = .6 it is .1
    assert m.effective_robustness(0.8, 0.6, [0.5, 0.8], [0.2, 0.5]) == pytest.approx(0.1)
    # x = 2 ln 4 (accuracy 16/17) -> y = ln 4: .8
    assert m.effective_robustness(16 / 17, 0.8, [0.5, 0.8], [0.2, 0.5]) == pytest.approx(0.0)
    assert m.effective_robustness(0.8, 0.6, [0.5], [0.2]) is None
    assert m.effective_robustness(0.8, 0.6, [0.5, 0.5], [0.2, 0.3]) is None
    assert m.effective_robustness(None, 0.6, [0.5, 0.8], [0.2, 0.5]) is None
    assert math.isfinite(m.effective_robustness(0.9, 0.6, [0.5, 1.0], [0.0, 0.5]))


# One run


def scores(test, validation=None, **more):
    return TaskScores(
        validation=Scores(accuracy=validation, **more),
        test=Scores(accuracy=test, **more),
        shifted={"unseen": Scores(accuracy=test / 2), "drawn": Scores(accuracy=0.0)},
    )


def run_rows():
    suites = [0.8, 0.7, 0.6, 0.4]
    # probes: "x" is never tuned on; tasks b and c are probed until they are tuned on
    probes = [
        {"x": 0.7, "b": 0.5, "c": 0.6},
        {"x": 0.65, "b": 0.55, "c": 0.5},
        {"x": 0.6, "c": 0.4},
        {"x": 0.5},
    ]
    return [
        Row(
            after=after,
            tasks={t: scores(R[j, i], R[j, i] - 0.1, ece=0.1 * j) for i, t in enumerate(TASKS)},
            suites={"emoji": scores(suites[j], 0.5)},
            probes={name: ProbeScores(accuracy=a) for name, a in probes[j].items()},
            drift=Drift(weight_distance={"all": float(j)}),
        )
        for j, after in enumerate([None, *TASKS])
    ]


def test_matrix_places_rows_by_name_whatever_their_order():
    rows = run_rows()
    np.testing.assert_array_equal(m.matrix(rows[::-1], TASKS), R)
    np.testing.assert_array_equal(m.matrix(rows, TASKS, "validation"), R - 0.1)
    np.testing.assert_array_equal(m.suite_matrix(rows, TASKS, ["emoji"])[:, 0], [0.8, 0.7, 0.6, 0.4])


def test_matrix_puts_a_stage_of_several_tasks_last():
    rows = run_rows()
    joint = [rows[0], rows[3].model_copy(update={"after": "a + b + c"})]
    expected = R.copy()
    expected[1:3] = NAN
    np.testing.assert_array_equal(m.matrix(joint, TASKS), expected)
    with pytest.raises(ValueError, match="two rows for stage 3"):
        m.matrix([*joint, rows[3]], TASKS)


def test_summary_of_a_run():
    found = m.summary(run_rows(), TASKS, ["emoji"], ["x", "b", "c"])
    assert set(found) <= set(DEFINITIONS)
    expected = {
        "speciality": 2.2 / 3,
        "speciality_pretrained": 0.4,
        "generality": 0.4,
        "generality_pretrained": 0.8,
        "retention": 0.5,
        "generality_drop": 0.4,
        "delta_zs": -0.4,
        "delta_lp": 0.5 - 0.7,
        # b: .55 - .5 after task a; c: .4 - .6 after tasks a and b
        "delta_lp_before_tuning": (0.05 - 0.2) / 2,
        "forgetting_last": 0.2,
        # (.3 + .1) / 2, the last task left out
        "forgetting_max": 0.2,
        "bwt": -0.2,
        "fwt": -0.05,
        "mtil_transfer": 0.425,
        "mtil_avg": 5.8 / 9,
        "mtil_last": 2.2 / 3,
        # mean over tasks of (R[3,i] / 2 + 0) / 2
        "ood_accuracy": 2.2 / 12,
        "ece": 0.3,
        "weight_distance": 3.0,
    }
    assert {k: found[k] for k in expected} == pytest.approx(expected)
    assert found["kl_to_base"] is None
    assert found["forgetting_last_by_task"] == pytest.approx({"a": 0.3, "b": 0.1})
    assert found["fwt_by_task"] == pytest.approx({"b": 0.1, "c": -0.2})
    assert found["delta_lp_by_probe"] == pytest.approx({"x": -0.2})
    assert found["delta_lp_before_tuning_by_task"] == pytest.approx({"b": 0.05, "c": -0.2})


def test_summary_on_validation_reads_no_test_data():
    rows = run_rows()
    found = m.summary(rows, TASKS, ["emoji"], ["x"], split="validation")
    assert found["speciality"] == pytest.approx(2.2 / 3 - 0.1)
    assert found["delta_lp"] is found["ood_accuracy"] is None
    spoiled = [
        row.model_copy(
            update={
                "tasks": {
                    k: v.model_copy(update={"test": Scores(), "shifted": {}}) for k, v in row.tasks.items()
                },
                "suites": {k: v.model_copy(update={"test": Scores()}) for k, v in row.suites.items()},
                "probes": {},
            }
        )
        for row in rows
    ]
    assert m.summary(spoiled, TASKS, ["emoji"], ["x"], split="validation") == found


def test_summary_of_joint_training_gives_what_the_two_rows_allow():
    rows = run_rows()
    joint = [rows[0], rows[3].model_copy(update={"after": "joint"})]
    found = m.summary(joint, TASKS, ["emoji"], ["x", "b", "c"])
    assert found["speciality"] == pytest.approx(2.2 / 3)
    assert found["retention"] == pytest.approx(0.5)
    assert found["delta_lp"] == pytest.approx(-0.2)
    for name in ("forgetting_last", "forgetting_max", "bwt", "fwt", "mtil_avg", "delta_lp_before_tuning"):
        assert found[name] is None
    assert found["forgetting_last_by_task"] == {"a": None, "b": None}


def test_summary_of_nothing_is_missing_not_zero():
    for tasks in ([], ["a"], TASKS):
        found = m.summary([Row(after=None, tasks={})], tasks)
        assert not any(isinstance(value, float) for value in found.values())
