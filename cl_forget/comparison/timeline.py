"""Who worked on what and when: the trials of a sweep over its workers, what lay idle, and what sharing saved.

A worker is there from its first beginning to its last end. Workers that follow each other share a *lane*, so there
are as many lanes as ever were workers at a time. A *session* is a time in which somebody was there without a break;
between sessions the sweep was paused, which is nobody's idleness.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from cl_forget.comparison.trials import Attempt, Trial


@dataclass(frozen=True)
class Span:
    """One attempt at one trial.

    Attributes:
        trial: the record.
        lane: where it is drawn, from 0.
        start: seconds since the sweep's first beginning.
        end: the same; None where the process died, or still works.
        last: whether it is the trial's last attempt.
    """

    trial: Trial
    lane: int
    start: float
    end: float | None
    last: bool


@dataclass(frozen=True)
class Timeline:
    """A sweep over its workers.

    Attributes:
        spans: every attempt, in order of its beginning.
        lanes: workers that were there at the same time, at most.
        workers: processes in all.
        sessions: (from, to) of each, seconds since the first beginning.
        busy: seconds that attempts of known length took, all workers together.
        idle: seconds of all lanes in all sessions in which nothing of known length was under way.
    """

    spans: list[Span] = field(default_factory=list)
    lanes: int = 0
    workers: int = 0
    sessions: list[tuple[float, float]] = field(default_factory=list)
    busy: float = 0.0
    idle: float = 0.0

    @property
    def packing(self) -> float | None:
        """The share of the lanes' time in which they were at work; None where there was no time."""
        whole = self.busy + self.idle
        return self.busy / whole if whole > 0 else None

    @property
    def seconds(self) -> float:
        """The length of all sessions together."""
        return sum(to - since for since, to in self.sessions)


def timeline(trials: Iterable[Trial]) -> Timeline:
    """The attempts that the records hold; empty where they hold none."""
    attempts = [(attempt, trial) for trial in trials for attempt in trial.attempts]
    if not attempts:
        return Timeline()
    origin = min(attempt.started for attempt, _ in attempts)
    there = _there([attempt for attempt, _ in attempts], origin)
    lane_of = _lanes(there)
    spans = [
        Span(
            trial=trial,
            lane=lane_of[attempt.worker],
            start=attempt.started - origin,
            end=None if attempt.ended is None else attempt.ended - origin,
            last=attempt is trial.attempts[-1],
        )
        for attempt, trial in attempts
    ]
    spans.sort(key=lambda span: (span.start, span.lane))
    sessions = _sessions(there.values())
    lanes = 1 + max(lane_of.values())
    busy = sum(span.end - span.start for span in spans if span.end is not None)
    idle = lanes * sum(to - since for since, to in sessions) - busy
    return Timeline(spans, lanes, len(there), sessions, busy, max(0.0, idle))


def _there(attempts: Sequence[Attempt], origin: float) -> dict[str, tuple[float, float]]:
    """Worker -> (first beginning, last end), in order of the first; one that died ends at its last beginning."""
    found: dict[str, tuple[float, float]] = {}
    for attempt in sorted(attempts, key=lambda one: one.started):
        start = attempt.started - origin
        end = start if attempt.ended is None else attempt.ended - origin
        since, to = found.get(attempt.worker, (start, end))
        found[attempt.worker] = since, max(to, end)
    return found


def _lanes(there: dict[str, tuple[float, float]]) -> dict[str, int]:
    """Worker -> the first lane that is free when it comes."""
    ends: list[float] = []
    found = {}
    for worker, (since, to) in there.items():
        lane = next((k for k, end in enumerate(ends) if end <= since), len(ends))
        ends[lane : lane + 1] = [to]
        found[worker] = lane
    return found


def _sessions(there: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """The times in which at least one was there, joined where they touch."""
    joined: list[tuple[float, float]] = []
    for since, to in sorted(there):
        if joined and since <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(joined[-1][1], to)
        else:
            joined.append((since, to))
    return joined


@dataclass(frozen=True)
class Sharing:
    """What taking over of fine-tuning saved.

    Attributes:
        trials: that took something over.
        passes, seconds: of training, as they were where it was done; None where a record does not say.
        made: passes that were made.
    """

    trials: int
    passes: int | None
    seconds: float | None
    made: int


def sharing(trials: Iterable[Trial]) -> Sharing:
    """What the finished trials saved by sharing.

    A record that names a giver and holds no `taken_over` does not say: it is of an earlier version, or the giver had
    nothing to give.
    """
    done = [trial for trial in trials if trial.status == "finished"]
    takers = [trial for trial in done if trial.shared_with is not None and trial.shared_stages]
    taken = [trial.taken_over for trial in takers if trial.taken_over is not None]
    silent = any(trial.taken_over is None and not trial.attempts for trial in takers)
    saved = None if silent else sum(cost.passes for cost in taken)
    return Sharing(
        trials=len(taken) if not silent else len(takers),
        passes=saved,
        seconds=None if silent else sum(cost.train_seconds for cost in taken),
        made=sum(trial.passes for trial in done) - (saved or 0),
    )
