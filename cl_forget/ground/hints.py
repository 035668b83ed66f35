"""What somebody meant who wrote a name that is not known here: other spellings, other words, other places."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from cl_forget.ground.documents import read_text
from cl_forget.ground.registry import closest

_OTHER_WORDS = {
    "lr": "learning_rate eta step_size max_lr peak_lr",
    "epochs": "epoch num_epochs num_train_epochs n_epochs passes",
    "batch_size": "bs batch train_batch_size per_device_train_batch_size mini_batch_size",
    "micro_batch_size": "micro_batch gradient_accumulation accumulate_grad_batches gradient_accumulation_steps",
    "weight_decay": "wd decay l2",
    "warmup": "warmup_ratio warmup_steps warm_up",
    "schedule": "scheduler lr_scheduler lr_scheduler_type",
    "clip": "grad_clip gradient_clip max_grad_norm gradient_clip_val clip_grad_norm",
    "precision": "dtype bf16 fp16 amp mixed_precision torch_dtype",
    "augment": "augmentation augmentations transforms",
    "seeds": "random_seed random_seeds manual_seed",
    "max_length": "max_len max_seq_length seq_len context_length max_seq_len",
    "model": "base_model model_name model_name_or_path pretrained backbone checkpoint",
    "stream": "data dataset datasets tasks task train_data benchmark experiences",
    "suites": "eval evals evaluation benchmarks eval_datasets generality",
    "mitigations": "mitigation regularizers regularisers strategies plugins",
    "methods": "method arms strategy",
    "strength": "lambda lam lmbda coefficient coef reg penalty beta weight",
    "limit": "max_samples num_samples subset max_eval_samples",
    "wandb": "mode enabled use_wandb",
    "project": "wandb_project project_name",
    "grid": "values options list",
    "choice": "choices categorical",
    "log_uniform": "log loguniform logspace q_log_uniform_values log_uniform_values",
    "uniform": "range min max linear",
    "trials": "num_samples n_trials num_trials max_trials",
}
"""Our word -> what other tools call it."""

_OURS = {other.replace("_", ""): ours for ours, others in _OTHER_WORDS.items() for other in others.split()}


def nearest(name: str, siblings: Sequence[str], everywhere: Sequence[str] = ()) -> str:
    """` Did you mean 'x'?` for a name that is not known; empty where nothing is near.

    Args:
        name: as it was written; dotted, or the last part alone.
        siblings: what is known at this place.
        everywhere: what is known elsewhere, with dots: found where the name is right and its place is not.
    """
    place, _, last = name.rpartition(".")
    same, ours = _plain(last), _plain(_OURS.get(_plain(last), ""))
    if found := _called(same, siblings):
        return _did_you_mean(found)
    if near := difflib.get_close_matches(
        last, list(siblings), n=1, cutoff=0.8
    ):  # a slip rather than another word
        return _did_you_mean(near)
    if found := _called(ours, siblings):
        return _did_you_mean([one if "." in one or not place else f"{place}.{one}" for one in found])
    if last in everywhere:
        return f" '{last}' is a field of the whole file."
    if found := _called(same, everywhere) or _called(ours, everywhere):
        return _did_you_mean(found)
    dotted = any("." in one for one in siblings)
    return closest(name if dotted else last, list(siblings)) or _closest_last(last, everywhere)


def _called(meant: str, known: Sequence[str]) -> list[str]:
    return [one for one in known if meant and _plain(one.rpartition(".")[2]) == meant][:2]


def _did_you_mean(names: Sequence[str]) -> str:
    return f" Did you mean {' or '.join(map(repr, names))}?"


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _closest_last(last: str, everywhere: Sequence[str]) -> str:
    """The nearest by the last part of the name, which must be nearer than a sibling."""
    by_last = {one.rpartition(".")[2]: one for one in reversed(everywhere)}
    match = difflib.get_close_matches(last, list(by_last), n=1, cutoff=0.75)
    return _did_you_mean([by_last[match[0]]]) if match else ""


# -- data ----------------------------------------------------------------------------------------------------
_READERS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "datasets",
    ".arrow": "datasets",
}
_HARNESS = frozenset({
    "hellaswag", "mmlu", "arceasy", "arcchallenge", "winogrande", "piqa", "boolq", "openbookqa", "gsm8k",
    "truthfulqa", "truthfulqamc2", "lambada", "lambadaopenai", "wikitext", "triviaqa", "commonsenseqa", "siqa",
    "sciq", "race", "drop", "humaneval", "ifeval", "bbh",
})  # fmt: skip


def own_data(name: str, sources: Sequence[str]) -> str:
    """How data are written that are no registered stream or suite; empty where nothing is recognised.

    Args:
        name: as it was written: a path, a data set of torchvision, a task of lm-evaluation-harness.
        sources: the sources that may be named at this place.
    """
    written = next((found for found in _written(name) if found.partition(":")[0][1:] in sources), None)
    return "" if written is None else f" Did you mean `{written}`?"


def _written(name: str) -> Iterator[str]:
    path = _path(name)
    suffix = next((end.lower() for end in reversed(path.suffixes[-2:]) if end.lower() in _READERS), None)
    if suffix:
        yield f"{{{_READERS[suffix]}: {{path: {name}}}}}"
    if os.path.exists(path / "dataset_dict.json") or os.path.exists(path / "dataset_info.json"):
        yield f"{{datasets: {{path: {name}}}}}"
    if os.path.isdir(path) or "/" in name or "\\" in name or name[:1] in ".~":
        yield f"{{folder: {{path: {name}}}}}"
    if dataset := _torchvision(name):
        yield f"{{torchvision: {{dataset: {dataset}}}}}"
    if _plain(name) in _HARNESS:
        yield f"{{lm-eval: {{task: {name}}}}}"


def _path(name: str) -> Path:
    """A name as a path: with `os.path`, a home that nobody has and a name too long for a file are no failures."""
    return Path(os.path.expanduser(name))


def _torchvision(name: str) -> str | None:
    from torchvision import datasets

    return next((known for known in datasets.__all__ if _plain(known) == _plain(name)), None)


# -- models --------------------------------------------------------------------------------------------------
def own_model(name: str) -> str:
    """How a model is written that is a file or folder here, or has the form of a name on the Hugging Face Hub.

    Args:
        name: as it was written, without a source before it; of every other name nothing is said.
    """
    path = _path(name)
    if os.path.isfile(path):
        if path.suffix.lower() == ".gguf":
            return f" Did you mean `gguf:{name}`?"
        return f" Weights need their architecture: write `open_clip:<architecture>/{name}`, or the same of `timm:`."
    if os.path.isdir(path):
        if source := _source_of(path):
            return f" Did you mean `{source}{name}`?"
        if found := sorted(path.glob("*.gguf")):
            return f" Did you mean `gguf:{Path(name) / found[0].name}`?"
        return (
            " The folder has no config.json or open_clip_config.json: give the one that a model was saved to."
        )
    if re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+", name):
        return (
            f" Of the Hugging Face Hub it is written `hf:{name}`, or `hf-image:{name}` where it reads images."
        )
    return ""


def _source_of(folder: Path) -> str:
    """The source that reads a folder, by the configuration that lies in it; empty where none does."""
    if os.path.isfile(folder / "open_clip_config.json"):
        return "open_clip:local-dir:"
    if not os.path.isfile(folder / "config.json"):
        return ""
    if os.path.isfile(folder / "preprocessor_config.json"):
        return "hf-image:"
    of_timm = '"architecture"' in read_text(folder / "config.json", "give the one that belongs to the model.")
    return "timm:local-dir:" if of_timm else "hf:"
