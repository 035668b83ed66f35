"""What the processor time of a process's trials goes to, and what of it is done again; for `sweeps.py breakdown`."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock


class Parts:
    """Processor seconds by part; what a part calls of another one is that one's.

    Attributes:
        seconds, calls: of each part since the last `take`.
        again: calls that did what an earlier one of this process had done already.
    """

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.calls: Counter[str] = Counter()
        self.again: Counter[str] = Counter()
        self._open: list[str] = []
        self._since = 0.0
        self._seen: set[Any] = set()

    def _turn(self) -> None:
        """What has passed since the last turn was the innermost part's."""
        now = time.process_time()
        if self._open:
            self.seconds[self._open[-1]] += now - self._since
        self._since = now

    def timed(
        self, part: str, original: Callable[..., Any], key: Callable[..., Any] | None
    ) -> Callable[..., Any]:
        """A function that does the same and is timed; `key` tells from its arguments what it works out."""

        def call(*given: Any, **named: Any) -> Any:
            self._turn()
            if key is not None:
                known = part, key(*given, **named)
                self.again[part] += known in self._seen
                self._seen.add(known)
                self._since = time.process_time()  # telling what is done again is no part of a trial
            self.calls[part] += 1
            self._open.append(part)
            try:
                return original(*given, **named)
            finally:
                self._turn()
                self._open.pop()

        return call

    def take(self) -> tuple[dict[str, float], Counter[str], Counter[str]]:
        """Seconds, calls and calls done again since the last time."""
        found = self.seconds, self.calls, self.again
        self.seconds, self.calls, self.again = defaultdict(float), Counter(), Counter()
        return found


def _of(*tensors: Any) -> bytes:
    digest = hashlib.blake2b()
    for tensor in tensors:
        digest.update(tensor.detach().cpu().contiguous().view(-1).numpy().data)
    return digest.digest()


def places() -> list[tuple[str, Any, str, Callable[..., Any] | None]]:
    """Part, owner and name of what is timed, and what tells two calls of it apart."""
    import cl_forget.run.shared as shared
    import cl_forget.run.simulation as simulation
    import cl_forget.sweeps.work as working
    from cl_forget.evaluation.evaluate import Evaluator
    from cl_forget.ground import files
    from cl_forget.models.clip import ClipModel
    from cl_forget.tracking.files import EventLog
    from cl_forget.training.checkpoints import RunFolder
    from cl_forget.training.frozen import FrozenModel

    def image_pass(evaluator: Any, batch: Any) -> Any:
        return _of(*evaluator.model.state_dict().values(), batch.inputs), batch.samples.experience.name

    def frozen_pass(frozen: Any, batch: Any, fields: Any) -> Any:
        return _of(*frozen.model.state_dict().values(), batch.inputs)

    def heads(model: Any, labels: Any, keep: Any) -> Any:
        return model._text_fingerprint(), labels

    def decoded(model: Any, data: Any, experience: Any, split: str, augment: str = "none") -> Any:
        return experience.name, split, len(data), augment

    return [
        ("all else", working, "_one", None),
        ("loading", shared, "load_model", lambda spec, *_: spec),
        ("loading", shared, "load_stream", repr),
        ("loading", shared, "load_suites", repr),
        ("hashing", FrozenModel, "_tensor_digest", lambda model, name, tensor: (id(model), name)),
        ("decoding", ClipModel, "prepare", decoded),
        ("frozen model", FrozenModel, "run", frozen_pass),
        ("zero-shot heads", ClipModel, "_make_zero_shot", heads),
        ("copies of the model", shared.Setup, "model", None),
        ("training", simulation, "fine_tune", None),
        ("passes of the evaluation", Evaluator, "_pass", image_pass),
        ("evaluation beside its passes", Evaluator, "row", None),
        ("files", RunFolder, "save", None),
        ("files", EventLog, "write", None),
        ("files", files, "write_bytes", None),
    ]  # fmt: skip


@contextlib.contextmanager
def measured() -> Iterator[Parts]:
    """Meanwhile every part is timed."""
    parts = Parts()
    with contextlib.ExitStack() as stack:
        for part, owner, name, key in places():
            stack.enter_context(mock.patch.object(owner, name, parts.timed(part, getattr(owner, name), key)))
        yield parts
