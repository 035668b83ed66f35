"""Which results are seeds of one arm: those that were asked for the same in everything but the seed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cl_forget.comparison.observations import run_name
from cl_forget.comparison.records import Result
from cl_forget.comparison.settings import recorded_settings, what_differs
from cl_forget.config.run import PLAIN


def control_of(arms: Mapping[str, Sequence[Any] | None]) -> str | None:
    """The arm of plain full fine-tuning; None if there is none.

    It has no mitigations. Where several have none, as with other settings of training, it is the one with the
    usual name, or else the first.

    Args:
        arms: name -> its mitigations; None where they are not known.
    """
    plain = [name for name, mitigations in arms.items() if mitigations is not None and not mitigations]
    return PLAIN if PLAIN in plain else next(iter(plain), None)


def separate(results: Sequence[Result]) -> list[Result]:
    """The results with one name for each arm: where a name stands for several settings, what differs is behind it.

    "full fine-tuning" with four epochs and with one become "full fine-tuning (train.epochs=4)" and
    "full fine-tuning (train.epochs=1)": they are two arms, and no mean is taken over both.
    """
    arms: dict[str, dict[str, dict[str, Any]]] = {}
    keys = []
    for result in results:
        settings = recorded_settings(result.run)
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
    """What was not the same where the runs took place, as a finding: it changes how numbers are rounded."""
    known: dict[str, list[str]] = {}
    for result in results:
        environment = result.environment
        values = {
            name: environment.get(name) for name in ("python", "machine", "processor", "device", "threads")
        }
        for name, value in {**values, **environment.get("packages", {})}.items():
            if value is not None and str(value) not in known.setdefault(name, []):
                known[name].append(str(value))
    odd = [f"{name} {' and '.join(values)}" for name, values in known.items() if len(values) > 1]
    if odd:
        yield (
            f"Not all runs were made under the same conditions: {'; '.join(odd)}. Floating-point rounding differs "
            "between these, and training amplifies it; compare means over seeds."
        )
    changed = sorted(
        {run_name(result) for result in results if result.environment.get("changed_while_resumed")}
    )
    if changed:
        yield f"Resumed under other conditions than it began with: {', '.join(changed)}."
    silent = sum(result.fingerprints is None for result in results)
    if 0 < silent < len(results):
        yield f"{silent} of {len(results)} runs, of an earlier version, do not say which weights and data they used."
