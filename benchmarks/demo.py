"""What `make demo` costs beyond the passes that no one could leave out.

    python benchmarks/demo.py                       the demo, as after `make setup`: nothing in the cache yet
    python benchmarks/demo.py train.epochs=1        with settings changed, as on the command line

First the demo itself, in processes of its own: the processor time of all of them, from the start of the
interpreter to the report. Then the same experiment in this process, where every forward and backward pass is timed.
A forward pass of the same weights over the same input is needed once; those done again count as overhead. Run it on
a quiet machine: both halves are processor time, which shared caches stretch.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FILE = Path(__file__).parent.parent / "experiments" / "demo.yaml"
JOBS = 2
GOAL = 1.25
PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


@dataclass
class Passes:
    """Processor seconds and numbers of the passes of an experiment.

    Attributes:
        forward, again, backward: (seconds, passes): those that differ, those done again, and gradients.
    """

    forward: tuple[float, int] = (0.0, 0)
    again: tuple[float, int] = (0.0, 0)
    backward: tuple[float, int] = (0.0, 0)
    _seen: set[bytes] = field(default_factory=set, repr=False)

    def count(self, kind: str, seconds: float) -> None:
        """One pass more."""
        before, number = getattr(self, kind)
        setattr(self, kind, (before + seconds, number + 1))

    def timed(
        self, original: Callable[..., Any], known: Callable[..., list[Any]] | None
    ) -> Callable[..., Any]:
        """A function that does what `original` does and is timed.

        Args:
            original: a forward pass, or the backward pass.
            known: the tensors that decide a forward pass, from its arguments.
        """

        def call(*given: Any, **named: Any) -> Any:
            started = time.process_time()
            result = original(*given, **named)
            spent = time.process_time() - started
            if known is None:
                self.count("backward", spent)
                return result
            digest = hashlib.blake2b()
            for tensor in known(*given):
                digest.update(tensor.detach().cpu().contiguous().view(-1).numpy().data)
            self.count("again" if digest.digest() in self._seen else "forward", spent)
            self._seen.add(digest.digest())
            return result

        return call


@contextlib.contextmanager
def watched() -> Iterator[Passes]:
    """Every pass of a CLIP model in this process; its image tower by weights and images, its text tower, which no
    arm of the demo trains, by the texts."""
    import open_clip
    import torch

    from cl_forget.models.clip import ClipModel

    passes = Passes()
    places: list[tuple[Any, str, Callable[..., list[Any]] | None]] = [
        (ClipModel, "encode", lambda model, images, *_: [*model.clip.visual.state_dict().values(), images]),
        (open_clip.CLIP, "encode_text", lambda _, texts, *__: [texts]),
        (torch.Tensor, "backward", None),
    ]
    originals = [getattr(owner, name) for owner, name, _ in places]
    for (owner, name, known), original in zip(places, originals, strict=True):
        setattr(owner, name, passes.timed(original, known))
    try:
        yield passes
    finally:
        for (owner, name, _), original in zip(places, originals, strict=True):
            setattr(owner, name, original)


def demo(overrides: list[str], folder: Path) -> tuple[float, float]:
    """Processor and wall-clock seconds of the command, with everything that it starts."""
    # What a process leaves behind, such as the server that workers are forked off, becomes ours to wait for.
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise SystemExit("benchmarks/demo.py needs Linux, which says what a process's descendants took")
    command = [sys.executable, "-m", "cl_forget.cli", "run", str(FILE), *overrides, "--jobs", str(JOBS)]
    before, started = _of_children(), time.perf_counter()
    with (folder / "said").open("w") as said:
        done = subprocess.run(
            [*command, "--output", str(folder / "demo")],
            env=_fresh(folder / "first"),
            stdout=said,
            stderr=said,
        )
    wall = time.perf_counter() - started
    if done.returncode:
        raise SystemExit((folder / "said").read_text())
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)
    return _of_children() - before, wall


def _of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _fresh(cache: Path) -> dict[str, str]:
    """The environment with an empty cache."""
    return {**os.environ, "CL_FORGET_CACHE": str(cache)}


def passes_of(overrides: list[str], folder: Path) -> Passes:
    """The passes of the demo's runs, one after the other in this process."""
    os.environ.update(_fresh(folder / "second"))
    from cl_forget.config.experiment import load_experiment
    from cl_forget.run.experiment import run_experiment

    with watched() as passes:
        run_experiment(load_experiment(FILE, overrides), folder / "passes")
    return passes


def main() -> None:
    overrides, load = sys.argv[1:], os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as temporary:
        spent, wall = demo(overrides, Path(temporary))
        passes = passes_of(overrides, Path(temporary))
    needed = passes.forward[0] + passes.backward[0]
    print(
        f"| what | processor seconds | passes |\n|---|---:|---:|\n| the demo, {JOBS} jobs | {spent:.1f} | |"
    )
    for what, (seconds, number) in {
        "forward passes that differ": passes.forward,
        "backward passes": passes.backward,
        "forward passes done again": passes.again,
    }.items():
        print(f"| {what} | {seconds:.1f} | {number} |")
    print(f"\nThe demo over its distinct passes: {spent / needed:.2f} (goal ≤ {GOAL}).")
    print(f"{wall:.0f} s by the clock; load of the machine before it {load:.1f} on {os.cpu_count()} cores.")


if __name__ == "__main__":
    main()
