"""What a page is called: what it compares, whichever command made it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cl_forget.reporting.numbers import listed

MOST = 3
"""So many arms, or tasks, are named; more are counted."""


def comparison_title(arms: Sequence[str], control: str | None, tasks: Sequence[str]) -> str:
    """The title of a report on runs or on a sweep: the arms, what they stand against, and what was learnt.

    Args:
        arms: every arm, the control among them.
        control: the arm that the others are compared with; None without one.
        tasks: of the stream, in order; empty where nobody knows them yet.
    """
    others = [name for name in arms if name != control]
    who = listed(others) if 0 < len(others) <= MOST else f"{len(others)} methods"
    if not others:
        who = str(control)
    elif control is not None:
        who += f" against {control}"
    while_learning = f" while learning {_tasks(tasks)}" if tasks else ""
    return f"{who}: what is forgotten{while_learning}"


def _tasks(tasks: Sequence[str]) -> str:
    return listed(tasks) if len(tasks) <= MOST + 1 else f"{len(tasks)} tasks, {tasks[0]} to {tasks[-1]}"


def pair_title(what: str, tuned: str, base: str) -> str:
    """The title of a page on two models.

    Args:
        what: is said of them, such as "What was lost".
        tuned, base: as their user named them; of a path the last part says enough.
    """
    return f"{what}: {_short(tuned)} against {_short(base)}"


def _short(model: str) -> str:
    return Path(model).name or model if "/" in model and "://" not in model else model
