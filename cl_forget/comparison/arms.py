"""Which results are seeds of one arm: those that were asked for the same in everything but the seed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from cl_forget.comparison.observations import run_name
from cl_forget.comparison.records import Result
from cl_forget.config.run import BOOKKEEPING
from cl_forget.evaluation.options import Evaluation
from cl_forget.models.options import TextOptions
from cl_forget.training.options import Training

_NOT_A_SETTING = (
    "seed", "method", "mitigations", *BOOKKEEPING,
    "train.threads",  # a condition, which `conditions` says
    "evaluate.curves", "evaluate.export", "evaluate.keep_stages",  # what is kept, not what is measured
)  # fmt: skip
_DEFAULTS = {"train": Training(), "evaluate": Evaluation(), "text": TextOptions()}


def settings_of(run: Mapping[str, Any]) -> dict[str, Any]:
    """Every setting of a recorded run: dotted name -> value; what an earlier version did not know is its default."""
    filled = {
        name: {**default.model_dump(mode="json"), **(run.get(name) or {})}
        for name, default in _DEFAULTS.items()
    }
    return dict(_flatten({**run, **filled}))


def _flatten(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, item in value.items():
        name = f"{prefix}{key}"
        if name in _NOT_A_SETTING:
            continue
        if isinstance(item, Mapping):
            yield from _flatten(item, f"{name}.")
        else:
            yield name, item


def what_differs(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """For each, the settings in which not all agree: "train.epochs=4, train.lr=0.001"; "" for all if all agree."""
    names = list(dict.fromkeys(name for one in settings for name in one))
    odd = [name for name in names if len({_text(one.get(name)) for one in settings}) > 1]
    return [", ".join(f"{name}={_text(one.get(name))}" for name in odd) for one in settings]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def separate(results: Sequence[Result]) -> list[Result]:
    """The results with one name for each arm: where a name stands for several settings, what differs is behind it.

    "full fine-tuning" with four epochs and with one become "full fine-tuning (train.epochs=4)" and
    "full fine-tuning (train.epochs=1)": they are two arms, and no mean is taken over both.
    """
    arms: dict[str, dict[str, dict[str, Any]]] = {}
    keys = []
    for result in results:
        settings = settings_of(result.run)
        keys.append(json.dumps(settings, sort_keys=True))
        arms.setdefault(result.method, {})[keys[-1]] = settings
    names = {
        (method, key): f"{method} ({differs})" if differs else method
        for method, found in arms.items()
        for key, differs in zip(found, what_differs(list(found.values())), strict=True)
    }
    named = (names[result.method, key] for result, key in zip(results, keys, strict=True))
    return [
        result if name == result.method else result.model_copy(update={"method": name})
        for result, name in zip(results, named, strict=True)
    ]


def conditions(results: Sequence[Result]) -> Iterable[str]:
    """What was not the same where the runs took place, as a finding: it can change the last digits."""
    known: dict[str, list[str]] = {}
    for result in results:
        environment = result.environment
        values = {name: environment.get(name) for name in ("python", "machine", "device", "threads")}
        for name, value in {**values, **environment.get("packages", {})}.items():
            if value is not None and str(value) not in known.setdefault(name, []):
                known[name].append(str(value))
    odd = [f"{name} {' and '.join(values)}" for name, values in known.items() if len(values) > 1]
    if odd:
        yield f"Not all runs were made under the same conditions, so last digits can differ: {'; '.join(odd)}."
    changed = sorted(
        {run_name(result) for result in results if result.environment.get("changed_while_resumed")}
    )
    if changed:
        yield f"Resumed under other conditions than it began with: {', '.join(changed)}."
    silent = sum(result.fingerprints is None for result in results)
    if 0 < silent < len(results):
        yield f"{silent} of {len(results)} runs, of an earlier version, do not say which weights and data they used."
