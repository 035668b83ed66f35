"""MagMax, TIES, DARE, Model Stock and OPCM: tables worked by hand, and each written out on a model."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from drive import assert_close
from edits import apply, edit_of, loaded, same_bits
from pydantic import ValidationError
from torch import Tensor, nn

from cl_forget.ground.errors import UserError
from cl_forget.mitigations import Chain, Mitigation
from cl_forget.mitigations.dare import DARE
from cl_forget.mitigations.lines import LiNeS
from cl_forget.mitigations.magmax import MagMax
from cl_forget.mitigations.model_stock import ModelStock
from cl_forget.mitigations.opcm import OPCM
from cl_forget.mitigations.shared.merging import changes_of
from cl_forget.mitigations.task_arithmetic import TaskArithmetic
from cl_forget.mitigations.ties import TIES
from cl_forget.mitigations.wise_ft import WiseFT
from cl_forget.run.simulate import simulate
from cl_forget.training.context import Edit
from cl_forget.weights.changes import Changes, threshold
from cl_forget.weights.matrices import beyond

Tensors = dict[str, np.ndarray]
ALL = [MagMax(), TIES(), DARE(), ModelStock(), OPCM()]


class Table(nn.Module):
    """Two tensors and a buffer."""

    def __init__(self, one: Tensor, two: Tensor) -> None:
        super().__init__()
        self.one, self.two = nn.Parameter(one), nn.Parameter(two)
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))


def by_hand(changes: list[tuple[list[float], list[float]]], base: float = 0.0, dtype=torch.float64) -> Edit:
    """Stages that each changed two vectors by these numbers, all from the same start."""

    def moved(one: list[float], two: list[float], seen: int) -> dict[str, Tensor]:
        tensors = [torch.tensor(c, dtype=torch.float64).add(base).to(dtype) for c in (one, two)]
        return {"one": tensors[0], "two": tensors[1], "seen": torch.tensor(seen)}

    start = moved([0.0] * len(changes[0][0]), [0.0] * len(changes[0][1]), 0)
    history = [loaded(moved(*change, seen=number + 1)) for number, change in enumerate(changes)]
    model = Table(start["one"], start["two"])
    return Edit(model, start, start, history, [loaded(start)] * len(changes))  # type: ignore[arg-type]


def edited(edit: Edit, method: Mitigation) -> dict[str, list[float]]:
    weights = edit.history[-1]()
    found = method.edit_weights(edit, weights)
    assert found["seen"] == weights["seen"], "integer buffers keep the tuned value"
    assert all(found[name].dtype == weights[name].dtype for name in weights)
    return {name: found[name].tolist() for name in ("one", "two")}


THREE = [
    ([1.0, -4.0, 0.5, 0.0], [2.0, -1.0]),
    ([-3.0, 1.0, 0.5, 0.0], [2.0, 3.0]),
    ([2.0, 2.0, -2.0, 0.0], [2.0, -1.5]),
]


def test_magmax_by_hand() -> None:
    found = edited(by_hand(THREE), MagMax(scale=0.5))
    assert found == {"one": [-1.5, -2.0, -1.0, 0.0], "two": [1.0, 1.5]}


def test_ties_by_hand() -> None:
    """Half of the six entries are kept: of the first stage 1 -4 2 -1 (a tie at 1), then -3 2 3, then 2 2 -2 2."""
    found = edited(by_hand(THREE), TIES(keep=0.5))
    # one[0]: 1 -3 2 sums to 0, the sign of most sums (- - + +, then + by two[1]): one[1] -4 +2 -> -, one[2] -2 -> -,
    # two[0] 6 -> +, two[1] -1 +3 -> +; two against two is no majority, and the entry stays
    assert found == {"one": [0.0, -4.0, -2.0, 0.0], "two": [2.0, 3.0]}
    assert edited(by_hand(THREE[:1]), TIES(keep=1.0, scale=2.0)) == {"one": [2, -8, 1, 0], "two": [4, -2]}


def test_where_the_sum_is_zero_the_sign_is_that_of_most_entries() -> None:
    changes = [([1.0, 3.0], [5.0]), ([-1.0, 3.0], [5.0])]
    assert edited(by_hand(changes), TIES(keep=1.0)) == {"one": [1.0, 3.0], "two": [5.0]}
    negative = [([-x for x in one], [-x for x in two]) for one, two in changes]
    assert edited(by_hand(negative), TIES(keep=1.0)) == {"one": [-1.0, -3.0], "two": [-5.0]}


def test_model_stock_by_hand() -> None:
    """Same way: the mean. Right angle: θ0. 60°: t = 2·.5/1.5. Obtuse: θ0. A tensor one stage changed: as tuned."""
    half = math.sqrt(0.75)
    found = edited(by_hand([([1.0, 0.0], [1.0, 0.0]), ([3.0, 0.0], [0.0, 2.0])]), ModelStock())
    assert found["one"] == pytest.approx([2.0, 0.0]) and found["two"] == pytest.approx([0.0, 0.0], abs=1e-12)
    found = edited(by_hand([([1.0, 0.0], [1.0, 0.0]), ([0.5, half], [-1.0, 0.1])]), ModelStock())
    assert found["one"] == pytest.approx([2 / 3 * 0.75, 2 / 3 * half / 2]) and found["two"] == [0.0, 0.0]
    found = edited(by_hand([([1.0, 0.0], [0.0, 0.0]), ([1.0, 0.0], [3.0, 4.0])]), ModelStock())
    assert found["two"] == pytest.approx([3.0, 4.0])
    # three at right angles to each other but for one pair at 60°: mean cosine 1/6, t = .5/(4/3)
    three = [([1.0, 0, 0], [1.0]), ([0.5, half, 0], [1.0]), ([0, 0, 1.0], [1.0])]
    assert edited(by_hand(three), ModelStock())["one"] == pytest.approx(
        [0.375 * 0.5, 0.375 * half / 3, 0.375 / 3]
    )


def test_dare_drops_a_share_and_rescales_the_rest() -> None:
    edit = by_hand([([1.0] * 4000, [1.0]), ([0.0] * 4000, [1.0])])
    found = edited(edit, DARE(drop=0.75, scale=0.5))["one"]
    assert set(found) == {0.0, 2.0}  # .5·1/(1-.75)
    kept = sum(value > 0 for value in found) / 4000
    assert abs(kept - 0.25) < 4 * math.sqrt(0.25 * 0.75 / 4000)
    assert edited(edit, DARE(drop=0.75, scale=0.25))["one"] == [value / 2 for value in found]


def test_dare_drops_other_entries_in_each_stage_and_the_same_ones_again() -> None:
    edit = edit_of(stages=2, restart=True)
    found = apply(edit, DARE(drop=0.5))
    same_bits(found, apply(edit_of(stages=2, restart=True), DARE(drop=0.5)))
    one, two = (load() for load in edit.history)
    name = "clip.visual.conv1.weight"
    change = (found[name] - edit.pretrained[name]).flatten()
    of = [2 * (end[name] - edit.pretrained[name]).flatten() for end in (one, two)]
    cases = torch.stack([torch.zeros_like(change), of[0], of[1], of[0] + of[1]])
    which = (cases - change).abs().argmin(0)
    torch.testing.assert_close(cases.gather(0, which[None])[0], change, atol=1e-12, rtol=0)
    assert torch.bincount(which, minlength=4).min() > 0.2 * len(change)


def test_dare_that_drops_nothing_is_task_arithmetic() -> None:
    edit = edit_of(stages=3)
    assert_close(apply(edit, DARE(drop=0, scale=0.4)), apply(edit, TaskArithmetic(scale=0.4)), atol=1e-12)


def test_dare_drops_no_running_statistics() -> None:
    model = nn.BatchNorm1d(4)
    start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    end = {name: tensor + 1 for name, tensor in start.items()}
    found = DARE(drop=0.9).edit_weights(Edit(model, start, start, [loaded(end)], [loaded(start)]), end)  # type: ignore[arg-type]
    assert torch.equal(found["running_var"], end["running_var"])
    change = found["weight"] - start["weight"]
    torch.testing.assert_close(change, torch.where(change > 5, 10.0, 0.0))


@pytest.mark.parametrize("restart", [True, False])
def test_magmax_on_a_model(restart: bool) -> None:
    edit = edit_of(stages=3, restart=restart)
    ends = [load() for load in edit.history]
    expected = {}
    for name, base in edit.pretrained.items():
        moves = torch.stack([end[name] - base for end in ends])
        expected[name] = base + 0.3 * moves.gather(0, moves.abs().argmax(0)[None])[0]
    assert_close(apply(edit, MagMax(scale=0.3)), expected, atol=1e-12)


def test_ties_on_a_model() -> None:
    edit = edit_of(stages=3, restart=True)
    names = list(edit.pretrained)
    flat = [torch.cat([(load()[n] - edit.pretrained[n]).flatten() for n in names]) for load in edit.history]
    trimmed = []
    for vector in flat:
        kept = vector.abs().topk(int(0.3 * len(vector))).indices
        trimmed.append(torch.zeros_like(vector).index_copy(0, kept, vector[kept]))
    rows = torch.stack(trimmed)
    sign = rows.sum(0).sign()
    agreeing = torch.where(rows.sign() == sign, rows, 0.0)
    merged = agreeing.sum(0) / (agreeing != 0).sum(0).clamp_min(1)
    sizes = [edit.pretrained[n].numel() for n in names]
    parts = dict(zip(names, merged.split(sizes), strict=True))
    expected = {n: t + 0.7 * parts[n].view_as(t) for n, t in edit.pretrained.items()}
    assert_close(apply(edit, TIES(scale=0.7, keep=0.3)), expected, atol=1e-12)


def test_model_stock_on_a_model() -> None:
    edit = edit_of(stages=3)
    ends = [load() for load in edit.history]
    expected = {}
    for name, base in edit.pretrained.items():
        moves = [(end[name] - base).flatten() for end in ends]
        pairs = [(0, 1), (0, 2), (1, 2)]
        cosines = [torch.nn.functional.cosine_similarity(moves[i], moves[j], dim=0) for i, j in pairs]
        cosine = sum(cosines) / 3
        t = 3 * cosine / (2 * cosine + 1)
        expected[name] = t * sum(end[name] for end in ends) / 3 + (1 - t) * base
    assert_close(apply(edit, ModelStock()), expected, atol=1e-10)


def opcm_in_numpy(base: Tensors, ends: list[Tensors], share: float) -> Tensors:
    """As the authors' code goes: model after model, each merged model scaled to the mean length so far."""

    def norm(model: Tensors) -> float:
        return math.sqrt(sum(float(((model[n] - base[n]) ** 2).sum()) for n in base))

    merged, before, lengths = dict(ends[0]), 1.0, [norm(ends[0])]
    for end in ends[1:]:
        lengths.append(norm(end))
        for name, start in base.items():
            old, new = merged[name] - start, end[name] - start
            if start.ndim > 1:
                rows = old.reshape(len(old), -1)
                u, s, vh = np.linalg.svd(rows, full_matrices=True)
                inside = u.T @ new.reshape(rows.shape) @ vh.T
                split = int(np.argmax(s.cumsum() / s.sum() > share))
                np.fill_diagonal(inside, 0)
                inside[:split, :split] = 0
                new = (u @ inside @ vh).reshape(old.shape)
            merged[name] = start + before * old + new
        before = norm(merged) / np.mean(lengths)
        merged = {name: start + (merged[name] - start) / before for name, start in base.items()}
    return merged


@pytest.mark.parametrize("share", [0.5, 0.8])
def test_opcm_on_a_model(share: float) -> None:
    draw = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Linear(3, 7), nn.LayerNorm(5)).double()
    start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    ends = [
        {n: t + torch.randn(t.shape, generator=draw, dtype=t.dtype) * (1 + k) for n, t in start.items()}
        for k in range(3)
    ]
    edit = Edit(model, start, start, [*map(loaded, ends)], [loaded(start)] * 3)  # type: ignore[arg-type]
    arrays = [{name: tensor.numpy() for name, tensor in tensors.items()} for tensors in (start, *ends)]
    expected = opcm_in_numpy(arrays[0], arrays[1:], share)
    found = OPCM(share=share).edit_weights(edit, ends[-1])
    assert_close(found, {name: torch.from_numpy(array) for name, array in expected.items()}, atol=1e-10)
    half = OPCM(share=share, scale=0.5).edit_weights(edit, ends[-1])
    assert_close(half, {n: (t + found[n]) / 2 for n, t in start.items()}, atol=1e-12)


def test_opcm_of_one_task_is_task_arithmetic() -> None:
    edit = edit_of(restart=True)
    same_bits(apply(edit, OPCM(scale=0.3)), apply(edit, TaskArithmetic(scale=0.3)))


def test_opcm_drops_only_directions_that_were_there() -> None:
    """A change of rank one, as LoRA makes it, has one direction; the others are whatever the solver chose."""
    old, new = torch.zeros(3, 4), torch.arange(12.0).view(3, 4)
    old[0, 0] = 2.0
    expected = new.clone()
    expected[0, 0] = 0.0
    torch.testing.assert_close(beyond(old, new, 1.0), expected)
    assert torch.equal(beyond(torch.zeros(3, 4), new, 1.0), new) and torch.equal(
        beyond(new[0], new[1], 1.0), new[1]
    )
    experts = beyond(torch.stack([old, old * 3]), torch.stack([new, new]), 1.0)
    torch.testing.assert_close(experts, torch.stack([expected, expected]))


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
@pytest.mark.parametrize("keep", [0.001, 0.2, 0.5, 1.0])
def test_the_threshold_is_the_entry_that_sorting_finds(kind: torch.dtype, keep: float) -> None:
    draw = torch.Generator().manual_seed(1)
    tensors = {"a": torch.randn(40, 25, generator=draw).to(kind), "b": torch.zeros(70).to(kind)}
    tensors["c"] = torch.tensor([1e-40, -1e-40, 3e5, -0.0, 1.0, 1.0, -1.0]).to(kind)
    changes = Changes(list(tensors), 1, lambda name, _: tensors[name], frozenset())
    entries = sorted((abs(float(x)) for t in tensors.values() for x in t.flatten()), reverse=True)
    assert threshold(changes, 0, keep) == entries[max(1, int(keep * len(entries))) - 1]


@pytest.mark.parametrize(
    "method", [MagMax(scale=0), TIES(scale=0), DARE(scale=0), OPCM(scale=0)], ids=lambda m: m.name
)
def test_scale_zero_is_the_pretrained_model(method: Mitigation) -> None:
    edit = edit_of(stages=2)
    same_bits(apply(edit, method), edit.pretrained)


def test_one_stage() -> None:
    edit = edit_of()
    tuned = edit.history[0]()
    for method in (MagMax(scale=1), TIES(keep=1), DARE(drop=0), ModelStock(), OPCM()):
        assert_close(apply(edit, method), tuned, atol=1e-12)
    same_bits(apply(edit, ModelStock()), tuned)


@pytest.mark.parametrize(
    "method", [MagMax(), TIES(), DARE(drop=0.5), ModelStock(), OPCM()], ids=lambda m: m.name
)
def test_half_precision_is_rounded_once(method: Mitigation) -> None:
    """A sum of many small changes in bfloat16 would stop growing."""
    changes = [([0.5, 0.25], [0.125])] * 4
    half, double = by_hand(changes, base=1.0, dtype=torch.bfloat16), by_hand(changes, base=1.0)
    rounded = {n: torch.tensor(v).bfloat16().tolist() for n, v in edited(double, method).items()}
    assert edited(half, method) == rounded


def test_a_head_that_a_later_stage_probed_did_not_change_before() -> None:
    """Its starting point is the probe's; an earlier stage left it as it came and says nothing about it."""
    edit = by_hand([([1.0], [0.0]), ([2.0], [7.0])])
    probe = torch.tensor([5.0], dtype=torch.float64)
    edit.task = SimpleNamespace(probed={"two": probe}, heads={"two": probe}, seed=0)  # type: ignore[assignment]
    edit.starts[1] = loaded({**edit.pretrained, "two": probe})
    assert [change.item() for change in changes_of(edit, "pretrained").of("two")] == [0.0, 2.0]
    assert [change.item() for change in changes_of(edit, "start").of("two")] == [0.0, 2.0]
    assert edited(edit, MagMax(scale=0.5)) == {"one": [1.0], "two": [6.0]}


@pytest.mark.parametrize("method", ALL, ids=lambda m: m.name)
def test_merging_comes_before_rescaling_and_once(method: Mitigation) -> None:
    edit = edit_of(stages=2, restart=True)
    found = apply(edit, WiseFT(alpha=0.5), LiNeS(a=0.2), method)
    same_bits(found, apply(edit, method, LiNeS(a=0.2), WiseFT(alpha=0.5)))
    with pytest.raises(UserError, match="keep one"):
        Chain([method, TaskArithmetic()])


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        (MagMax, {"scale": -1}),
        (TIES, {"keep": 0}),
        (TIES, {"keep": 1.1}),
        (DARE, {"drop": 1}),
        (ModelStock, {"k": 2}),
        (OPCM, {"share": 1.5}),
    ],
)
def test_bad_settings_are_refused(method: type[Mitigation], fields: dict) -> None:
    with pytest.raises(ValidationError):
        method(**fields)


def test_a_run_has_the_whole_curve_from_one_fine_tune(tiny_run) -> None:
    """It is at θ0 for λ = 0, and at what is evaluated for the run's own λ."""
    fields = {"suites": [], "probes": [], "evaluate": {"curves": True}}
    merged = simulate(tiny_run(mitigations=["restart", {"ties": {"scale": 0.6, "keep": 0.5}}], **fields))
    (curve,) = merged.curves
    at = {point.value: point.row.tasks for point in curve.points}
    assert at[0.0] == merged.rows[0].tasks and at[0.6] == merged.rows[-1].tasks
