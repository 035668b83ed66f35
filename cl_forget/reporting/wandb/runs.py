"""Which W&B runs a report is about, and filters that are known to select them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from cl_forget.ground.errors import UserError
from cl_forget.reporting.specification import RunRecord


@dataclass(frozen=True)
class TrackedRun:
    """A run as W&B has it.

    Attributes:
        id: its identity in the project.
        group, state: as W&B shows them.
        config, summary: what was logged.
        record: the run of the report it is.
    """

    id: str
    group: str | None
    state: str
    config: dict[str, Any]
    summary: dict[str, Any]
    record: RunRecord | None = None


def fetch(entity: str, project: str, timeout: float) -> list[TrackedRun]:
    """Every run of a project with configuration and summary, oldest first.

    Raises:
        UserError: there is no such project, or it holds no runs.
    """
    import wandb

    path = f"{entity}/{project}"
    try:
        found = [
            TrackedRun(run.id, run.group, run.state, dict(run.config), dict(run.summary_metrics or {}))
            for run in wandb.Api(timeout=max(1, int(timeout))).runs(path, per_page=500, lazy=False)
        ]
    except ValueError:
        raise UserError(
            f"W&B has no project {path}: give the one that the runs were tracked in (track.project)."
        ) from None
    if not found:
        raise UserError(
            f"the W&B project {path} has no runs: track them with track.wandb=online, or upload offline ones "
            "with `wandb sync`."
        )
    return found


def match(records: Sequence[RunRecord], tracked: Sequence[TrackedRun]) -> list[TrackedRun]:
    """The W&B run of each record, in their order; one that was run again counts by its newest finished run.

    Raises:
        UserError: none of them is there.
    """
    found = []
    for record in records:
        wanted = {key: value for key, value in record.configuration.items() if key != "track"}
        same = [
            run
            for run in tracked
            if all(_kept(_field(run, key)) == _kept(value) for key, value in wanted.items())
        ]
        if same:
            newest = [run for run in same if run.state == "finished"] or same
            run = newest[-1]
            found.append(TrackedRun(run.id, run.group, run.state, run.config, run.summary, record))
    if not found:
        raise UserError(
            "none of these runs is in that W&B project: track them with track.wandb=online, or upload the "
            "offline ones with `wandb sync`."
        )
    return found


def _field(run: TrackedRun, dotted: str) -> Any:
    """A field of the configuration: `train.lr`, or of a mitigation: `ldifs.strength`."""
    for value in (run.config, run.config.get("mitigation")):
        for part in dotted.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if value is not None:
            return value
    return None


def _kept(value: Any) -> Any:
    """A value of the configuration as W&B keeps it, which is without empty mappings; None where nothing is left."""
    if not isinstance(value, dict):
        return value
    items = {key: (item, _kept(item)) for key, item in value.items()}
    left = {
        key: kept for key, (item, kept) in items.items() if kept is not None or not isinstance(item, dict)
    }
    return left or None


def selecting(wanted: Iterable[TrackedRun], tracked: Sequence[TrackedRun]) -> Any:
    """A filter that selects the wanted runs of a project and no others, as a list for a run set.

    By method and group, so that runs added later appear too, where that is exact; else by identity. Either is
    tried on the project's runs as W&B's own parser understands it before it is used.
    """
    from wandb_workspaces import expr

    ids = [run.id for run in wanted]
    methods = sorted({run.config["method"] for run in wanted})
    groups = sorted({run.group or "" for run in wanted})
    candidates = [[expr.Metric("ID").isin(ids)]]
    if not any(sign in text for text in methods + groups for sign in "'\"\\"):  # W&B's parser breaks on these
        candidates.insert(0, [expr.Config("method").isin(methods), expr.Metric("Group").isin(groups)])
    for candidate in candidates:
        text = expr.filterexpr_list_to_string(candidate)
        if {run.id for run in tracked if selects(expr.expr_to_filters(text), run)} == set(ids):
            return candidate
    raise UserError(f"no W&B filter selects the runs {', '.join(ids)}; the report is not saved.")


def selects(condition: Any, run: TrackedRun) -> bool:
    """Whether a parsed W&B filter holds for a run.

    Raises:
        ValueError: it uses what our reports do not.
    """
    if condition.filters is not None:
        combine: Callable[[Iterable[bool]], bool] = {"AND": all, "OR": any}[condition.op]
        return combine(selects(part, run) for part in condition.filters)
    section, name = condition.key.section, condition.key.name
    if section == "config":
        value = run.config.get(name)
    elif section == "summary":
        value = run.summary.get(name)
    elif section == "run" and name in ("name", "group", "state"):
        value = {"name": run.id, "group": run.group or "", "state": run.state}[name]
    else:
        raise ValueError(f"a filter on {section}:{name}")
    if condition.op == "IN":
        return value in condition.value
    if condition.op == "=":
        return bool(value == condition.value)
    raise ValueError(f"a filter with {condition.op}")
