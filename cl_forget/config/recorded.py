"""Reading what somebody recorded: a folder of results may come from anybody, so it names data and never code.

A run's configuration can name a module to import (`imports`), a function to call
(`avalanche: {benchmark: module:function}`), a class (`avalanche: {strategy: module:Class}`), task files that hold
code (`lm-eval: {include_path: ...}`) or data that are unpickled. In an experiment file that is the word of whoever
runs it. In a recorded run it is not: there only registered names and the benchmarks below are followed, and
everything else needs `--allow-code` on the command line (`allow_code` in Python).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from cl_forget.ground.errors import UserError

RECORDS = ("result.json", "state.json", "events.jsonl", "experiment.json", "sweep.json", "trial.json")
"""Files by which a folder is known for one that a run or a sweep wrote."""


BENCHMARKS = frozenset({
    "PermutedMNIST", "RotatedMNIST", "SplitCIFAR10", "SplitCIFAR100", "SplitCIFAR110", "SplitCUB200", "SplitFMNIST",
    "SplitImageNet", "SplitInaturalist", "SplitMNIST", "SplitOmniglot", "SplitTinyImageNet",
})  # fmt: skip
"""Avalanche's own benchmarks that read images and labels and unpickle nothing that is not checked first."""


UNPICKLED = {"torchvision": frozenset({"LSUN", "LSUNClass"}), "datasets": frozenset({"pandas"})}
"""Names by which a source unpickles files as it finds them."""


_allowed: set[str] = set()


def allow_code(*places: str) -> None:
    """Trust code that recorded runs name, in this process.

    Args:
        places: as the message names them: "module:function", or the folder of task files.
    """
    _allowed.update(places)


def is_recorded(file: Path) -> bool:
    """Whether a file lies in a folder that a run or a sweep wrote."""
    folders = {file.parent, file.resolve().parent}  # a link to a file in such a folder is that file
    return any((folder / name).exists() for folder in folders for name in RECORDS)


def check_recorded(fields: Any, what: str) -> None:
    """Refuse a recorded configuration that names code.

    Args:
        fields: its plain values.
        what: where it was found, for the message.

    Raises:
        UserError: it names code that is neither registered nor allowed.
    """
    for place in _foreign(fields):
        if place not in _allowed:
            raise UserError(
                f"{what} was recorded by a run and asks for code that is not registered here: {place!r}. If you know "
                f"it and trust it, add --allow-code '{place}'."
            )


def _foreign(value: Any) -> Iterator[str]:
    """Every place of code in plain values, however deep: data sets stand in mitigations, too."""
    if isinstance(value, list | tuple):
        for item in value:
            yield from _foreign(item)
    if not isinstance(value, dict):
        return
    for name, options in value.items():
        if name == "imports":
            yield from _texts(options)
        if isinstance(options, dict):
            yield from _named(str(name), options)
        owner, _, field = str(name).partition(".")
        if owner in _CODE and field:  # of a sweep's space: "avalanche.strategy"
            yield from (place for text in _texts(options) for place in _named(owner, {field: text}))
        yield from _foreign(options)


_CODE = ("avalanche", "lm-eval", "torchvision", "datasets")


def _named(name: str, options: dict[str, Any]) -> Iterator[str]:
    """The code that a spec of this name asks for."""
    if name == "avalanche":
        benchmark, strategy = options.get("benchmark"), options.get("strategy")
        if benchmark is not None and not _is_avalanches(str(benchmark)):
            yield str(benchmark)
        if strategy is not None and not str(strategy).isidentifier():  # a bare name is one of Avalanche's
            yield str(strategy)
    if name == "lm-eval" and options.get("include_path") is not None:  # its YAML can say `!function`
        yield str(options["include_path"])
    for source, field in (("torchvision", "dataset"), ("datasets", "path")):
        if name == source and str(options.get(field)) in UNPICKLED[source]:
            yield f"{source}:{options[field]}"


def _is_avalanches(place: str) -> bool:
    module, _, function = place.partition(":")
    package, _, below = module.partition(".benchmarks")
    return package == "avalanche" and below in ("", ".classic") and function in BENCHMARKS


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)
