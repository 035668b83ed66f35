"""Where a run took place: versions, commit, machine, threads, folders."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cl_forget.ground.errors import UserError
from cl_forget.ground.progress import in_json
from cl_forget.ground.redact import redact

if TYPE_CHECKING:
    import torch

PACKAGES = (
    "cl-forget",
    "torch",
    "torchvision",
    "open_clip_torch",
    "transformers",
    "peft",
    "ray",
    "avalanche-lib",
)


def quiet_libraries() -> None:
    """Keep other packages' start-up chatter off the terminal; our own messages stay."""
    import warnings

    warnings.filterwarnings("ignore", module=r"(?!cl_forget)")
    logging.basicConfig(level=logging.ERROR, handlers=[ToStandardError()])
    for handler in logging.getLogger().handlers:
        if type(handler.formatter) is logging.Formatter:  # whoever has set another one formats for themselves
            handler.setFormatter(Discreet("%(message)s"))
    logging.getLogger("cl_forget").setLevel(logging.INFO)
    logging.getLogger("wandb").propagate = False  # it has log files of its own


class Discreet(logging.Formatter):
    """Lines without secrets, tracebacks included; JSON objects where `--log json` asks for them."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        said = redact(super().format(record))
        if not in_json():
            return said
        fields = redact(getattr(record, "fields", {"event": "message"}))
        return json_line(record.levelname.lower(), said, record.created, fields)


def json_line(level: str, message: str, seconds: float, fields: dict[str, Any]) -> str:
    """One line of a log for programs: when, how grave, what it says, and its fields."""
    when = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return json.dumps({"time": when, "level": level, **fields, "message": message}, ensure_ascii=False)


class ToStandardError(logging.Handler):
    """Writes to whatever standard error is at the moment: a bar on the terminal takes its place for a while."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record, in one piece, so that processes side by side do not write into each other's lines."""
        try:
            sys.stderr.write(self.format(record) + "\n")
            sys.stderr.flush()
        except Exception:
            self.handleError(record)


def device() -> str:
    """Where models lie unless a caller says otherwise: the GPU if there is one.

    The environment variable CL_FORGET_DEVICE ("cpu", "cuda:1", "mps") overrides it.

    Raises:
        UserError: the variable names no device of this machine.
    """
    import torch

    asked = os.environ.get("CL_FORGET_DEVICE")
    if asked is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=asked)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"CL_FORGET_DEVICE={asked}: there is no such device here ({reason}); set it to cpu, or unset it."
        ) from None
    return asked


def describe() -> dict[str, Any]:
    """Versions, commit of the working directory's repository, processor and threads; for `result.json`."""
    import torch

    return {
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "commit": _commit(),
        "machine": platform.machine(),
        "processor": _processor(),
        "system": platform.system(),
        "device": torch.cuda.get_device_name() if device().startswith("cuda") else device(),
        "threads": torch.get_num_threads(),
        "command": redact(" ".join([_program(Path(sys.argv[0])), *redact(sys.argv[1:])])),
    }


def _processor() -> str:
    """Name, family and model of the processor and the instructions that torch uses: numbers are rounded by these."""
    import torch

    told: dict[str, str] = {}
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            name, colon, value = line.partition(":")
            if colon:
                told.setdefault(name.strip(), value.strip())
    named = told.get("model name") or platform.processor() or platform.machine()
    kind = [
        f"{name} {told[key]}" for name, key in (("family", "cpu family"), ("model", "model")) if key in told
    ]
    return ", ".join([named, *kind, torch.backends.cpu.get_cpu_capability()])


def _program(file: Path) -> str:
    """What was called, as it is called again; of a module started with `python -m` only its file is known."""
    if file.name != "__main__.py":
        return file.name
    parts = file.parent.parts
    package = PACKAGES[0].replace("-", "_")
    below = parts[len(parts) - parts[::-1].index(package) - 1 :] if package in parts else parts[-1:]
    return f"python -m {'.'.join(below)}"


def conditions() -> dict[str, Any]:
    """What can change the last bits of a number though the run asks for the same: versions, processor, threads."""
    described = describe()
    names = ("python", "packages", "machine", "processor", "system", "device", "threads")
    return {name: described[name] for name in names}


@contextlib.contextmanager
def use_threads(count: int) -> Iterator[None]:
    """All arithmetic in this many threads, whichever library does it; afterwards in as many as before.

    Holds for the thread it is called in.
    """
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    with threadpool_limits(limits=count):
        torch.set_num_threads(count)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def cache_folder() -> Path:
    """Where outputs of frozen models are kept: $CL_FORGET_CACHE, or the user's cache folder."""
    import platformdirs

    return Path(os.environ.get("CL_FORGET_CACHE") or platformdirs.user_cache_path("cl_forget")) / "frozen"


def peak_memory_mb(device: torch.device) -> float:
    """Largest memory so far, MiB: of the device if it is a GPU, else resident memory of the process."""
    import torch

    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    # Linux's own count first: `ru_maxrss` begins with the peak of the process that started this one (fork and exec),
    # and cannot be forgotten.
    with contextlib.suppress(OSError, ValueError):
        _, found, told = Path("/proc/self/status").read_text().partition("VmHWM:")
        if found:
            return int(told.split()[0]) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**10 if sys.platform != "darwin" else peak / 2**20


def forget_peak_memory() -> None:
    """Let `peak_memory_mb` count from now on, of the process where its system can (Linux), and of every GPU.

    What a process held before, a notebook's for instance, then enters no estimate of what a new one will need.
    """
    import torch

    if torch.cuda.is_initialized():
        for device in range(torch.cuda.device_count()):
            torch.cuda.reset_peak_memory_stats(device)
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"],
            capture_output=True, text=True, timeout=5, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
