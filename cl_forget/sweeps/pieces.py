"""Long groups cut into pieces that several workers take, where that lets a sweep end sooner. No Ray in here.

Trials that share training form a group, which one worker goes through in order. With many workers the longest group
decides when a sweep ends; yet most of a group only waits for the fine-tuning that it shares. So a group is cut: a
piece holds a training and what fits beside it, another one what it gives to, once it is over. A piece costs its
worker the loading of the weights that it takes over, and the driver one more trial; hence a group is cut only where
it is longer than a fair share of the whole, and its evaluations in no smaller pieces than that.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field

from cl_forget.sweeps.planning import Group, Planned

SHARES = 3
"""Pieces that a worker should get of the whole, at least: then the last ones to end are short beside all of it."""

EVALUATION = 0.1
"""What a row costs, in trainings of one stream."""


@dataclass(frozen=True)
class Member:
    """One trial of a group: what it takes, and which earlier member it takes training over from."""

    weight: float
    giver: int | None = None


@dataclass
class Piece:
    """Members of one group that one worker goes through in order.

    Attributes:
        group: the group's number.
        members: positions in it, rising.
        weight: what they take together.
        needs: the piece that must be over before; None for none.
    """

    group: int
    members: list[int] = field(default_factory=list)
    weight: float = 0.0
    needs: int | None = None

    def add(self, position: int, weight: float) -> None:
        """One more member."""
        self.members.append(position)
        self.weight += weight


def cut(groups: Sequence[Sequence[Member]], workers: int) -> list[Piece]:
    """The pieces of all groups, a giver's before those of its takers.

    Args:
        groups: the members of each, a giver before its takers.
        workers: that there are.
    """
    fair = sum(member.weight for group in groups for member in group) / (SHARES * max(1, workers))
    pieces: list[Piece] = []
    for number, group in enumerate(groups):
        if sum(member.weight for member in group) <= fair or workers == 1:
            whole = Piece(number)
            for position, member in enumerate(group):
                whole.add(position, member.weight)
            pieces.append(whole)
        else:
            _cut(number, group, fair, pieces)
    return pieces


def _cut(number: int, group: Sequence[Member], fair: float, pieces: list[Piece]) -> None:
    of: dict[int, int] = {}  # member -> its piece
    open_for: dict[int, int] = {}  # the piece that trained -> the piece that takes what it gives to next
    for position, member in enumerate(group):
        giver = None if member.giver is None else of[member.giver]
        place = giver if giver is None else open_for[giver]
        if place is None or pieces[place].weight + member.weight > fair:
            pieces.append(Piece(number, needs=giver))
            place = len(pieces) - 1
            open_for[place] = place
            if giver is not None:
                open_for[giver] = place
        pieces[place].add(position, member.weight)
        of[position] = place


def longest_path(pieces: Sequence[Piece]) -> list[float]:
    """Of each piece: its own weight and that of the longest chain of pieces that wait for it."""
    path = [piece.weight for piece in pieces]
    for number in range(len(pieces) - 1, -1, -1):
        needs = pieces[number].needs
        if needs is not None:
            path[needs] = max(path[needs], pieces[needs].weight + path[number])
    return path


class Waiting:
    """Hands out pieces whose giver is over: first those that others wait for, then those with the longest path."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self._path = longest_path(pieces)
        self._takers: dict[int, list[int]] = {}
        self._ready: list[tuple[bool, float, int]] = []
        self._out: set[int] = set()
        self._count = len(pieces)
        for number, piece in enumerate(pieces):
            if piece.needs is not None:
                self._takers.setdefault(piece.needs, []).append(number)
        for number, piece in enumerate(pieces):
            if piece.needs is None:
                self._add(number)

    def _add(self, number: int) -> None:
        waited_for = number in self._takers
        heapq.heappush(self._ready, (not waited_for, -self._path[number], number))

    def next(self) -> int | None:
        """A piece to begin; None where all that are left wait for one under way, or none is left."""
        if not self._ready:
            return None
        number = heapq.heappop(self._ready)[2]
        self._out.add(number)
        return number

    def over(self, number: int) -> None:
        """A piece has ended, whatever came of it: who waits for it trains by itself what it cannot take."""
        for taker in self._takers.pop(number, ()):
            self._add(taker)

    @property
    def handed_out(self) -> bool:
        """Whether no piece is left to begin."""
        return len(self._out) == self._count


def members(group: Group) -> list[Member]:
    """A group of planned trials as what it takes."""
    at = {one.trial.id: position for position, one in enumerate(group)}
    return [Member(weight(one), at.get(one.trial.shared_with or "")) for one in group]


def weight(one: Planned) -> float:
    """What a trial takes itself, in plain trainings of one stream."""
    stages = one.trial.stages
    own = (stages - one.trial.shared_stages) / stages
    return one.plain_steps * own + EVALUATION * (1 + own * (stages - 1))


def trials_of(piece: Piece, groups: Sequence[Group]) -> Group:
    """The planned trials of a piece."""
    return [groups[piece.group][position] for position in piece.members]
