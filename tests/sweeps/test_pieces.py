"""Long groups cut into pieces: what waits for what, in what order, and when nothing is cut."""

from __future__ import annotations

import pytest
from sweep_samples import FIELDS

from cl_forget.config.sweep import Sweep
from cl_forget.sweeps.pieces import Member, Piece, Waiting, cut, longest_path, members, trials_of
from cl_forget.sweeps.planning import plan_grid, planned, share

TUNE = Member(1.0)


def taker(weight: float = 0.1, giver: int = 0) -> Member:
    return Member(weight, giver)


def shape(pieces: list[Piece]) -> list[tuple[int, list[int], int | None]]:
    return [(piece.group, piece.members, piece.needs) for piece in pieces]


def test_nothing_is_cut_for_one_worker_or_where_groups_are_many() -> None:
    group = [TUNE, *[taker()] * 10]
    assert shape(cut([group], workers=1)) == [(0, list(range(11)), None)]
    many = cut([group] * 100, workers=2)
    assert len(many) == 100 and all(piece.needs is None for piece in many)


def test_a_long_group_is_cut_into_a_training_and_fair_shares_of_what_it_gives_to() -> None:
    # 1 + 20 · 0.1 = 3 for two workers: a fair share is 3 / (3 · 2), so five evaluations make a piece.
    pieces = cut([[TUNE, *[taker()] * 20]], workers=2)
    assert pieces[0].members == [0] and pieces[0].needs is None
    assert [piece.members for piece in pieces[1:]] == [
        [1, 2, 3, 4, 5], [6, 7, 8, 9, 10], [11, 12, 13, 14, 15], [16, 17, 18, 19, 20],
    ]  # fmt: skip
    assert {piece.needs for piece in pieces[1:]} == {0}
    assert sum(piece.weight for piece in pieces) == pytest.approx(3)


def test_a_fork_waits_for_its_giver_and_its_own_takers_for_it() -> None:
    group = [TUNE, Member(0.5, 0), taker(giver=0), taker(giver=1), taker(giver=1)]
    pieces = cut([group], workers=10)
    assert shape(pieces) == [(0, [0], None), (0, [1], 0), (0, [2], 0), (0, [3], 1), (0, [4], 1)]
    assert longest_path(pieces) == pytest.approx([1.6, 0.6, 0.1, 0.1, 0.1])


def test_what_is_ready_is_handed_out_by_the_longest_path() -> None:
    pieces = [
        Piece(0, [0], 1.0),
        Piece(0, [1], 2.0, needs=0),
        Piece(1, [0], 2.5),
        Piece(0, [2], 0.1, needs=0),
    ]
    waiting = Waiting(pieces)
    assert [waiting.next(), waiting.next(), waiting.next()] == [0, 2, None]  # 1 + 2 is longer than 2.5
    assert not waiting.handed_out
    waiting.over(2)
    assert waiting.next() is None
    waiting.over(0)
    assert [waiting.next(), waiting.next(), waiting.next()] == [1, 3, None] and waiting.handed_out


def test_trials_that_share_know_whose_training_they_take() -> None:
    asked = Sweep(**FIELDS, report_on={"stream": ["squares", "other-colours"]})
    tuned = plan_grid(asked)
    report = [planned(asked, "WiSE-FT", {"wise_ft.alpha": 0.5}, 0, "report")]
    groups = share([*tuned, *report])
    group = max(groups, key=len)
    found = members(group)
    # The fine-tune, three averages of it, and one on a stream whose second entry is its own.
    assert [member.giver for member in found] == [None, 0, 0, 0, 0]
    assert found[0].weight > found[4].weight > found[1].weight > 0
    for piece in cut([members(one) for one in groups], workers=50):
        ids = {one.trial.id for one in trials_of(piece, groups)}
        for one in trials_of(piece, groups):
            assert one.trial.shared_with is None or one.trial.shared_with in ids or piece.needs is not None
