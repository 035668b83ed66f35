"""All benchmarks, one after the other; their figures go to `benchmarks/README.md`.

python benchmarks/run.py            everything, about 40 minutes on two cores
python benchmarks/run.py cost       only the parts named
"""

from __future__ import annotations

import platform
import shlex
import subprocess
import sys
from datetime import date
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
VIT = ["--model", "open_clip:ViT-B-32/none", "--batch-size", "8"]
# Ten past tasks of it are twenty copies of the weights, more than 24 GiB beside everything else.
VIT += ["--without", "EWC, 10 past tasks, Avalanche's plugin"]

PARTS: dict[str, tuple[str, str, list[str]]] = {
    "cost": (
        "Cost of a training step, emoji-clip",
        "Each method takes turns with the plain loop, step by step, on the same model and data; ratios are of "
        "processor time in one thread. The last rows are the same methods the way they are usually written (autograd "
        "penalties, one per past task; Avalanche's own plugin; the teacher on every batch): what the design buys.",
        ["cost.py", "--steps", "20"],
    ),
    "cost-vit": (
        "Cost of a training step, ViT-B-32 at 224 px",
        "The same with open_clip's ViT-B-32, random weights, batch 8.",
        ["cost.py", *VIT, "--steps", "5"],
    ),
    "edits": (
        "Cost of an edit after the tasks",
        "Edits of the weights, which cost once and not in every step.",
        ["cost.py", "--edits"],
    ),
    "memory": (
        "Peak memory, emoji-clip",
        "Resident memory of a process that takes three steps, most of it Python and its libraries.",
        ["cost.py", "--memory"],
    ),
    "memory-vit": (
        "Peak memory, ViT-B-32 at 224 px",
        "The same with ViT-B-32, batch 8.",
        ["cost.py", "--memory", *VIT],
    ),
    "demo": (
        "The demo beyond its passes",
        "Processor time of `make demo`, all of its processes from start to report, over that of its forward and "
        "backward passes. A forward pass of the same weights over the same input is needed once; what is done again "
        "is overhead, as is all that is not a pass: imports, data, optimiser, probes, files, the report.",
        ["demo.py"],
    ),
    "curve": (
        "A WiSE-FT curve",
        "What an 11-point curve takes beyond 11 evaluations.",
        ["curve.py"],
    ),
    "language": (
        "Language models",
        "What is compared takes turns on the same model, data and batch size; the ratio is the median over rounds.",
        ["language.py"],
    ),
    "merge": (
        "Memory of a merge, 513 M parameters",
        "WiSE-FT of two sharded bfloat16 checkpoints with random weights, tensor by tensor, in a process of its own. "
        "Peak memory is the largest resident set of the process, mapped files included, above what it was after "
        "importing torch; files are read with plain reads, so the operating system's file cache is no part of it. "
        "A `.pt` file is written by `torch.save`, which needs the whole result in memory.",
        ["merge.py"],
    ),
    "sweep-overhead": (
        "A sweep's overhead",
        "Trials of a model of a few thousand weights, one after the other in one actor.",
        ["sweeps.py", "overhead", "--model", "tiny"],
    ),
    "sweep-sharing": (
        "A sweep against the same written plainly",
        "Six methods, five strengths, two seeds; plainly is one Ray trial per setting, each of which loads "
        "everything, trains, and computes the teacher.",
        ["sweeps.py", "sharing", "--model", "tiny"],
    ),
    "sweep-parallel": (
        "Trials side by side",
        "Two at a time with one thread each, against one at a time with two threads.",
        ["sweeps.py", "parallel"],
    ),
    "sweep-breakdown": (
        "What a trial's processor time goes to",
        "Three trials of distillation in one process, as an actor has them one after the other; what a part calls of "
        "another one is that one's. Done again is a call that works out what an earlier one of the process had.",
        ["sweeps.py", "breakdown"],
    ),
    "sweep-start": (
        "How a worker begins",
        "What a fresh process does until its first trial, step by step; then a sweep of one trial through Ray.",
        ["sweeps.py", "start"],
    ),
    "sweep-durability": (
        "A sweep killed and resumed",
        "SIGKILL of the driver, a worker, a raylet, the head with all below it, and a node in turn, at random "
        "instants, on a Ray cluster of a head and two nodes. A sweep is resumed until it ends; lost or done again "
        "would be a finished trial that is missing or written anew. The table is compared with an uninterrupted "
        "sweep's; in the tournaments, where timing decides who is stopped, each finished trial with the same trial "
        "of the whole grid. Each call goes on for nine minutes.",
        ["sweep_durability.py", "--kills", "300", "--minutes", "9"],
    ),
    "cluster": (
        "Sweeps on a cluster",
        "What a sweep scales like: sweeps with one and two workers here, and a discrete-event simulation of the "
        "scheduler up to 1,000. The head of `cluster_simulation.py` states the assumptions. Measured by "
        "`cluster_simulation.py measure budget.trials=1 train.epochs=2 'seeds=[0]'` with nothing else running.",
        ["cluster_simulation.py", "simulate"],
    ),
    "cluster-validate": (
        "The simulated scheduler against real sweeps",
        "Sweeps through Ray with 1, 2 and 4 workers whose trials sleep for lengths drawn beforehand; the simulation "
        "knows these lengths and the overheads of a sweep of one worker over trials of another length. Each call "
        "goes on for four minutes.",
        ["cluster_simulation.py", "validate", "--minutes", "4"],
    ),
    "early-stopping": (
        "Early stopping by two objectives",
        "MO-ASHA over settings that were all trained to their end before, handed out in 50 random orders: what it "
        "finds of the whole grid's hypervolume (speciality and generality on validation data), for what share of "
        "the training. `python benchmarks/early_stopping.py record emoji` and `record pico` made the recordings. "
        "The grace of 9 % was chosen on these very recordings: with 10, emoji's first rung, whose reports come "
        "every 4.6 %, was judged at 13.9, and the whole cost 33.5 to 35.0 %.",
        ["early_stopping.py", "replay"],
    ),
    "storage": (
        "A sweep's folder with 100,000 trials",
        "Each a process of its own, imports included. A resumed sweep plans, finds what is shared and what is left. "
        "A first look opens every record and leaves an index beside them.",
        ["storage.py", "measure", "runs/storage"],
    ),
    "dashboard": (
        "The report of a sweep of 2,000 trials",
        "Opened in headless Chromium; open is when everything in sight is drawn.",
        ["dashboard.py"],
    ),
    "durability": (
        "Killed and resumed",
        "SIGKILL at 20 random instants; the resumed runs against an uninterrupted one.",
        ["durability.py", "--kills", "20"],
    ),
}


def main() -> None:
    chosen = sys.argv[1:] or list(PARTS)
    page = HERE / "README.md"
    sections = _existing(page)
    for part in chosen:
        title, text, command = PARTS[part]
        print(f"== {title}", flush=True)
        done = subprocess.run(
            [sys.executable, str(HERE / command[0]), *command[1:]], stdout=subprocess.PIPE, text=True
        )
        if done.returncode:
            raise SystemExit(f"{part} failed with exit code {done.returncode}:\n{done.stdout}")
        print(done.stdout)
        machine = f"{platform.machine()}, {date.today()}, torch {version('torch')}"
        call = shlex.join(["python", f"benchmarks/{command[0]}", *command[1:]])
        sections[title] = f"## {title}\n\n{text}\n\n`{call}` ({machine})\n\n{done.stdout.strip()}\n"
        _write(page, sections)


def _existing(page: Path) -> dict[str, str]:
    """Sections by title, so that parts can be measured one at a time."""
    if not page.exists():
        return {}
    parts = page.read_text().split("\n## ")[1:]
    return {part.splitlines()[0]: f"## {part.rstrip()}\n" for part in parts}


def _write(page: Path, sections: dict[str, str]) -> None:
    order = [title for title, _, _ in PARTS.values() if title in sections]
    order += [
        title for title in sections if title not in order
    ]  # written by hand, of scripts that take hours
    head = "# Benchmarks\n\nMade by `make benchmarks`. Ratios are taken in one run; times are only there for scale.\n"
    page.write_text("\n".join([head, *(sections[title] for title in order)]))


if __name__ == "__main__":
    main()
