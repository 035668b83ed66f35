"""Kill runs with SIGKILL, resume each, and compare all that they leave with an uninterrupted one.

    python benchmarks/durability.py --kills 200 --record durability.json

Half of the kills come at random instants. The other half comes right before or right after a rename, an fsync, a
link or a deletion, spread evenly over all of them; `--every-call` takes each one in a run of its own. A run is killed
up to four times, then it goes on to its end. Then these must be those of the uninterrupted run: every number of
`result.json`, the bytes of all weights, the records of `events.jsonl`, W&B's records in its offline files, and the
names of the files.

Prints a line per run. With `--record` what was done is kept after every run, and the same command goes on from
there, so that many kills can be spread over several sittings.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import multiprocessing
import os
import random
import re
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

RUN: dict[str, Any] = {
    "model": "emoji-clip",
    "stream": ["digits", "clocks"],
    "suites": ["emoji"],
    "mitigations": [{"ldifs": {"strength": 10, "anchor": "previous"}}, {"l2_sp": 0.01}, {"wise_ft": 0.5}],
    "train": {"epochs": 1, "batch_size": 64, "checkpoint_seconds": 0.2},
    "evaluate": {"curves": False, "limit": 100},
    "track": {"wandb": "offline", "kl_every": 10},
}
PRELOAD = ["cl_forget.run.simulation", "open_clip", "cl_forget.models.clip", "wandb"]
WATCHED = ("replace", "rename", "fsync", "link", "unlink", "remove", "rmdir")
LIVES = 4


class Moment(NamedTuple):
    """When a process is killed: after `seconds`, or at its `call`-th watched call, before or after it."""

    seconds: float | None = None
    call: int | None = None
    after: bool = False

    def __str__(self) -> str:
        if self.call is None:
            return f"after {self.seconds:.2f} s"
        return f"{'after' if self.after else 'before'} call {self.call}"


# The process that is killed


def watch_calls(moment: Moment, done: list[str]) -> None:
    """Count what this process does to the file system from now on, and kill it at the moment."""

    def watched(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            done.append(name)
            fatal = len(done) == moment.call
            if fatal and not moment.after:
                os.kill(os.getpid(), signal.SIGKILL)
            result = function(*arguments, **named)
            if fatal:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call

    for name in WATCHED:
        setattr(os, name, watched(name, getattr(os, name)))


def simulate_in_child(
    fields: dict[str, Any], folder: Path, modules: list[str], moment: Moment, calls: Any = None
) -> None:
    """What the killed process does: go on from whatever the folder holds."""
    from cl_forget.config.run import Run
    from cl_forget.run.simulate import simulate

    for module in modules:  # they may register the models and streams that the run names
        importlib.import_module(module)
    done: list[str] = []
    watch_calls(moment, done)
    simulate(Run.parse(fields), folder, resume=True)
    if calls is not None:
        calls.send(dict(Counter(done)))


def live(fields: dict[str, Any], folder: Path, preload: list[str], moment: Moment) -> bool:
    """Start or resume the run and kill it at the moment; whether it was hit before its end."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(preload)
    process = context.Process(target=simulate_in_child, args=(fields, folder, preload, moment))
    process.start()
    process.join(moment.seconds)
    if process.is_alive():
        process.kill()
        process.join()
    code = process.exitcode
    process.close()
    if code not in (0, -signal.SIGKILL):
        raise SystemExit(f"the run failed with exit code {code}")
    return code != 0


def kill_and_resume(
    fields: dict[str, Any], folder: Path, moments: Sequence[float | Moment], preload: list[str]
) -> list[Moment]:
    """Kill the run at each of the moments (numbers are seconds), let it end; returns those that hit it."""
    asked = [m if isinstance(m, Moment) else Moment(seconds=m) for m in moments]
    hits = [moment for moment in asked if live(fields, folder, preload, moment)]
    live(fields, folder, preload, Moment())
    return hits


def count_calls(fields: dict[str, Any], folder: Path, preload: list[str]) -> dict[str, int]:
    """The watched calls of an uninterrupted run."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(preload)
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=simulate_in_child, args=(fields, folder, preload, Moment(), sender))
    process.start()
    sender.close()
    try:
        found: dict[str, int] = receiver.recv()
    except EOFError:
        raise SystemExit("the uninterrupted run failed") from None
    process.join()
    return found


# What a run leaves


def numbers(folder: Path) -> dict[str, Any]:
    """Everything a finished run's result says, except time, memory and place."""
    from cl_forget.comparison.records import Result

    plain = Result.load(folder).model_dump(mode="json", exclude={"environment"})
    for row in [*plain["rows"], *(p["row"] for c in plain["curves"] for p in c["points"])]:
        for key in ("train_seconds", "evaluation_seconds", "peak_memory_mb"):
            row["cost"].pop(key)
    return plain


def events(folder: Path) -> list[dict[str, Any]]:
    """The records of the event log, without times."""
    lines = (folder / "events.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def weights(folder: Path) -> dict[str, str]:
    """Each file of weights and its checksum."""
    files = (path for path in folder.rglob("*.safetensors") if "wandb" not in path.parts)
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(files)}


def names(folder: Path) -> set[str]:
    """Everything in the folder, hidden files too; but W&B's own, where each life of a run leaves its part."""
    paths = (path.relative_to(folder) for path in folder.rglob("*"))
    return {str(path) for path in paths if path.parts[0] != "wandb"}


def history(folder: Path) -> dict[int, dict[str, Any]]:
    """W&B's records of all lives by number, without times; the first of a number counts, as for W&B's server."""
    from cl_forget.tracking.transaction_log import records

    timed = re.compile(
        r"_timestamp|_runtime|_wandb.*|.*seconds|.*samples_per_second|cost/peak_memory_mb|_step"
    )
    found: dict[int, dict[str, Any]] = {}
    for file in sorted((folder / "wandb").glob("*run-*/*.wandb")):
        for record in records(file):
            if record.WhichOneof("record_type") != "history":
                continue
            line = {".".join(item.nested_key) or item.key: item.value_json for item in record.history.item}
            number = int(line["_step"])
            found.setdefault(number, {k: _lasting(k, v) for k, v in line.items() if not timed.fullmatch(k)})
    return found


def _lasting(key: str, value: str) -> str:
    """A logged value; of tables and pictures only that they are there, as they name files of that life."""
    return "" if key.startswith(("tables/", "pictures/")) else value


CHECKS: dict[str, Callable[[Path], Any]] = {
    "numbers": numbers, "weights": weights, "events": events, "W&B records": history, "names of files": names,
}  # fmt: skip


def problems(folder: Path, whole: dict[str, Any]) -> list[str]:
    """Which of the checks find another thing than in the uninterrupted run."""
    return [what for what, read in CHECKS.items() if read(folder) != whole[what]]


# All kills


def plan(kills: int, calls: int, length: float, seed: int, every: bool) -> list[list[Moment]]:
    """The moments of each run."""
    chance = random.Random(seed)
    places = [Moment(call=number, after=after) for number in range(1, calls + 1) for after in (False, True)]
    wanted = len(places) if every else min(len(places), kills - kills // 2)
    spread = [places[round(i * (len(places) - 1) / max(1, wanted - 1))] for i in range(wanted)]
    lives = 1 if every else LIVES
    count = -(-wanted // lives)
    at_calls = [_in_turn(spread[first::count]) for first in range(count)]
    instants = [Moment(seconds=chance.uniform(0.05, 0.5) * length) for _ in range(max(0, kills - wanted))]
    at_instants = [instants[i : i + LIVES] for i in range(0, len(instants), LIVES)]
    runs = at_calls + at_instants
    chance.shuffle(runs)  # a few of them are a fair sample of all
    return runs


def _in_turn(places: Sequence[Moment]) -> list[Moment]:
    """Kills of one run at these places of its course: a life counts its calls from where it goes on."""
    calls = [0, *(place.call or 0 for place in places)]
    return [place._replace(call=max(1, call - before))
            for place, before, call in zip(places, calls, calls[1:], strict=False)]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--every-call", action="store_true", help="a kill before and after each call")
    parser.add_argument("--record", type=Path, help="JSON file that keeps what was done")
    parser.add_argument("--at-most", type=int, help="runs in this sitting")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        kill_and_resume(RUN, root / "warm", [], PRELOAD)  # the fork server and the frozen-model cache
        started = time.monotonic()
        calls = count_calls(RUN, root / "whole", PRELOAD)
        record = _record(arguments, calls, time.monotonic() - started)
        whole = {what: read(root / "whole") for what, read in CHECKS.items()}
        runs = plan(arguments.kills, record["calls"], record["seconds"], arguments.seed, arguments.every_call)
        first = len(record["runs"])
        last = len(runs) if arguments.at_most is None else min(len(runs), first + arguments.at_most)
        for number in range(first, last):
            folder = root / f"run-{number}"
            hits = kill_and_resume(RUN, folder, runs[number], PRELOAD)
            wrong = problems(folder, whole)
            record["runs"].append({"kills": [str(hit) for hit in hits], "wrong": wrong})
            kills = ", ".join(map(str, hits)) or "not hit"
            print(f"{number + 1}/{len(runs)} {kills}: {', '.join(wrong) or 'whole'}", flush=True)
            if arguments.record:
                _keep(arguments.record, record)
    _conclude(record, len(runs))


def _record(arguments: argparse.Namespace, calls: dict[str, int], seconds: float) -> dict[str, Any]:
    """What earlier sittings have done, or a new record; the plan depends on its first sitting alone."""
    asked = {"kills": arguments.kills, "seed": arguments.seed, "every_call": arguments.every_call}
    if arguments.record and arguments.record.exists():
        record: dict[str, Any] = json.loads(arguments.record.read_text())
        if record["asked"] != asked:
            raise SystemExit(f"{arguments.record} is of {record['asked']}; choose another --record")
        return record
    return {"asked": asked, "calls": sum(calls.values()), "by_kind": calls, "seconds": seconds, "runs": []}


def _keep(path: Path, record: dict[str, Any]) -> None:
    from cl_forget.ground.files import write_text

    write_text(path, json.dumps(record, indent=1))


def _conclude(record: dict[str, Any], planned: int) -> None:
    done = record["runs"]
    hits = sum(len(run["kills"]) for run in done)
    wrong = Counter(what for run in done for what in run["wrong"])
    kinds = ", ".join(f"{count} × {name}" for name, count in record["by_kind"].items())
    print(f"an uninterrupted run makes {record['calls']} calls ({kinds})")
    print(f"{hits} kills hit {len(done)} of {planned} runs")
    for what in CHECKS:
        print(f"  {what}: {'whole in all of them' if not wrong[what] else f'NOT whole in {wrong[what]}'}")
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
