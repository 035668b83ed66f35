"""Tasks of lm-evaluation-harness as suites: the harness asks, judges and scores the model in memory."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cl_forget.ground.errors import UserError
from cl_forget.ground.registry import closest
from cl_forget.streams._choose import chance
from cl_forget.streams.base import Experience, MeasuredData

if TYPE_CHECKING:
    from cl_forget.ground.records import Scores

METRICS = ("acc_norm", "acc", "exact_match", "em", "f1", "mcc", "word_perplexity", "perplexity")
"""Which of a task's metrics is reported unless one is named: the first that it has."""

VALIDATION_SHARE = 0.2


def lm_eval(
    task: str,
    include_path: Path | None = None,
    metric: str | None = None,
    num_fewshot: int | None = None,
    chat: bool = False,
    limit: int | None = None,
) -> Experience:
    """A task of lm-evaluation-harness as a suite; needs the extra `lm-eval` of this package.

    A fifth of its documents, the same ones every time, are validation data, the others test data.

    Args:
        task: its name in the harness ("hellaswag"), or in a task file of `include_path`.
        include_path: a folder with task files of one's own.
        metric: which of its metrics is the accuracy (or the perplexity); by default acc_norm, acc,
            exact_match, ..., whichever it has.
        num_fewshot: solved examples before each question; null for what the task says.
        chat: whether questions go into the tokenizer's chat template.
        limit: at most this many documents of each split.

    Raises:
        UserError: the harness is not installed, no such task, or data that cannot be loaded.
    """
    size = len(_load(task, include_path, num_fewshot).eval_docs)
    validation: list[int] = []
    test: list[int] = []
    for i in range(size):
        (validation if chance("lm-eval", task, i) < VALIDATION_SHARE else test).append(i)
    if not validation or not test:
        raise UserError(f"lm-eval task '{task}' has {size} documents, too few for validation and test.")
    about = {"task": task, "num_fewshot": num_fewshot, "chat": chat, "metric": metric}
    held, asked = (HarnessData(part[:limit], about, include_path) for part in (validation, test))
    return Experience(task, None, None, held, asked, metric=metric or "lm-eval")


class HarnessData(MeasuredData):
    """Some documents of a task of the harness.

    Args:
        documents: their positions.
        about: task, num_fewshot, chat, metric.
        include_path: where the task file is, if it is not the harness's own.
    """

    def __init__(self, documents: Sequence[int], about: dict[str, Any], include_path: Path | None) -> None:
        import numpy as np

        self.documents = [int(i) for i in documents]
        self.about, self.include_path = about, include_path
        self.labels = np.zeros(len(self.documents), dtype=np.int64)
        content = json.dumps([self.documents, about, str(include_path)])
        self.fingerprint = hashlib.sha256(content.encode()).hexdigest()[:16]

    def subset(self, positions: Sequence[int]) -> HarnessData:  # type: ignore[override]
        """The documents at `positions`."""
        return HarnessData([self.documents[i] for i in positions], self.about, self.include_path)

    def measure(self, model: Any, batch_size: int) -> Scores:
        """What the harness finds.

        Raises:
            UserError: not a language model, or the task has no such metric.
        """
        from cl_forget.ground.records import Scores

        name = self.about["task"]
        if not hasattr(model, "lm"):
            raise UserError(f"lm-eval task '{name}' asks in text, and '{model.spec}' reads images.")
        found = self._run(model, batch_size)
        values = {key.partition(",")[0]: value for key, value in found.items() if "," in key}
        chosen = self.about["metric"] or next((m for m in METRICS if m in values), None)
        if chosen not in values:
            known = [key for key in values if not key.endswith("_stderr")]
            raise UserError(
                f"lm-eval task '{name}' has no metric '{chosen}'.{closest(str(chosen), known)} "
                f"Its metrics: {', '.join(known)}."
            )
        value, fluent = float(values[chosen]), "perplexity" in chosen
        return Scores(
            accuracy=None if fluent else value,
            perplexity=value if fluent else None,
            samples=len(self.documents),
        )

    def _run(self, model: Any, batch_size: int) -> dict[str, Any]:
        import lm_eval as harness
        from lm_eval.models.huggingface import HFLM

        task = _load(self.about["task"], self.include_path, self.about["num_fewshot"])
        with _quietly():
            adapter = HFLM(
                pretrained=model.lm,
                tokenizer=model.form.tokenizer,
                batch_size=min(batch_size, 64),
                max_length=model.form.limit,
                chat_template_args=dict(model.form.options.template_arguments),
            )
            results: Any = harness.evaluate(
                adapter,
                {task.task_name: task},
                samples={task.task_name: self.documents},
                bootstrap_iters=0,
                log_samples=False,
                apply_chat_template=self.about["chat"],
            )
        return dict(results["results"][task.task_name])


def _load(name: str, include_path: Path | None, num_fewshot: int | None) -> Any:
    """A task object of the harness."""
    try:
        from lm_eval.tasks import TaskManager
    except ImportError:
        raise UserError(
            f"suite '{name}' needs lm-evaluation-harness: pip install 'cl-forget[lm-eval]'."
        ) from None
    if include_path is not None and not include_path.expanduser().is_dir():
        raise UserError(f"lm-eval: no folder at '{include_path}' to read task files from.")
    with _quietly():
        own = None if include_path is None else str(include_path.expanduser())
        manager = TaskManager(include_path=own, include_defaults=own is None)
    known = list(manager.all_tasks)
    if name not in known:
        some = f" Known: {', '.join(known)}." if len(known) < 20 else ""
        raise UserError(f"lm-eval has no task '{name}'.{closest(name, known)}{some}")
    try:
        with _quietly():
            tasks = manager.load(name)["tasks"]
    except Exception as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise UserError(
            f"lm-eval task '{name}' cannot be loaded: {first}; check its data files, or the network."
        ) from error
    if len(tasks) != 1:
        raise UserError(f"lm-eval '{name}' is a group of {len(tasks)} tasks; list its tasks as suites.")
    (task,) = tasks.values()
    if num_fewshot is not None:
        task.set_config(key="num_fewshot", value=num_fewshot)
    task.set_fewshot_seed(seed=0)
    return task


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """The harness draws bars and logs on stderr; what goes wrong is said by us."""
    logger = logging.getLogger("lm_eval")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
