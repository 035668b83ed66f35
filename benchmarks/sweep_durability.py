"""Kill sweeps with SIGKILL at random instants, resume them, and compare with uninterrupted ones.

    python benchmarks/sweep_durability.py --kills 300 --minutes 9

On a Ray cluster of a head and two nodes the driver, a worker, a raylet, the head with everything below it, and a node
are killed in turn, while sweeps of each mode run; a node that is gone is followed by another one. A sweep is resumed
until it ends, undisturbed after ten kills, then the next one begins. With `--minutes` it stops by then, and the same
command goes on from what `--folder` holds. A line per kill goes to standard error; what has been found so far to
standard output.

Asked of each sweep: no finished trial is lost or done again; the table is that of an uninterrupted one. What a
tournament stops depends on timing: there each trial that finished is compared with the same trial of the whole grid.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import yaml

TESTS = Path(__file__).parents[1] / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "sweeps")]

GRID: dict[str, Any] = {
    "name": "durability",
    "model": "tiny-clip",
    "stream": ["squares", "colour-probe"],
    "suites": ["colours"],
    "methods": {"WiSE-FT": ["wise_ft"], "L2-SP": ["l2_sp"], "LDIFS": [{"ldifs": {"anchor": "previous"}}]},
    "space": {"wise_ft.alpha": [0.25, 0.5, 0.75], "l2_sp.strength": [0.01, 0.1], "ldifs.strength": [1, 10]},
    "train": {"epochs": 3, "batch_size": 8, "lr": 1e-3, "checkpoint_seconds": 0.2},
    "seeds": [0, 1],
}
SEARCHED = {"l2_sp.strength": {"log_uniform": [1e-3, 1.0]}, "ldifs.strength": {"log_uniform": [0.1, 100]}}
JUDGED = {"score": {"every": 3, "samples": 12}, "asha": {"grace": 10, "reduction": 2}}

MODES: dict[str, dict[str, Any]] = {
    "curve": {**GRID, "report_on": {"stream": ["squares", "other-colours"], "seeds": [0, 5]}},
    "search": {**GRID, "mode": "search", "space": SEARCHED, "budget": {"trials": 3}},
    "asha": {**GRID, **JUDGED, "mode": "asha"},
    "mo-asha": {**GRID, **JUDGED, "mode": "mo-asha"},
}
WHAT = ("driver", "worker", "raylet", "head", "node")
PER_SWEEP = 10
"""Kills after which a sweep is left alone until it ends, and compared; a busy machine would kill one for ever."""

CLOCK = (
    "seconds", "redone_steps", "cost.train_seconds", "cost.evaluation_seconds", "cost.peak_memory_mb",
    "cost.frozen_samples",
)  # fmt: skip
"""What a clock or a killed process changes."""


def drive(file: str, folder: str, address: str = "") -> None:
    """What the killed process does."""
    import tiny  # noqa: F401  registers the tiny model and streams

    from cl_forget.sweeps.cluster import Resources
    from cl_forget.sweeps.runner import sweep

    resume = (Path(folder) / "sweep.yaml").exists()
    # A search suggests the same for the same number of trials side by side.
    both: dict[str, Any] = (
        {"max_concurrent": 2} if address else {"max_concurrent": 1, "memory_per_trial": 1000}
    )
    resources = Resources(address or None, **both)
    sweep(Path(file), folder, resume=resume, resources=resources)


def start(file: Path, folder: Path, address: str = "") -> subprocess.Popen[bytes]:
    """A driver; what it complains of goes to a file beside the folder."""
    from machines import ENVIRONMENT

    command = [sys.executable, __file__, "--drive", str(file), str(folder), address]
    path = os.pathsep.join([str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, **ENVIRONMENT, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    # Ray says on standard output that a worker died; the figures of this script go there.
    with complaints(folder).open("wb") as errors:
        return subprocess.Popen(
            command, env=env, stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True
        )


def complaints(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.txt")


def check(driver: subprocess.Popen[bytes], folder: Path) -> None:
    """Refuse to go on where a driver ended otherwise than with its sweep."""
    if driver.wait():
        raise SystemExit(f"the sweep failed:\n{complaints(folder).read_text()[-3000:]}")


def kill(driver: subprocess.Popen[bytes]) -> bool:
    """SIGKILL a driver with a runtime of its own, and everything below it; whether it was there."""
    try:
        below = psutil.Process(driver.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return False
    for process in [psutil.Process(driver.pid), *below]:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    return True


def results(folder: Path) -> dict[str, int]:
    """Finished trial, as the sweep calls it, -> when its result was written.

    A result alone is none yet: killed before its run is noted as finished, it is written again, and nothing trained.
    """
    records = [json.loads(file.read_text()) for file in folder.glob("trials/*/trial.json")]
    finished = [
        folder / "trials" / one["id"] / "result.json" for one in records if one["status"] == "finished"
    ]
    return {file.parent.name: file.stat().st_mtime_ns for file in finished}


def table(folder: Path) -> list[dict[str, Any]]:
    """The final table, without what a clock or a killed process changes."""
    from cl_forget.comparison.trials import columns, load_trials

    return [{k: v for k, v in row.items() if k not in CLOCK} for row in columns(load_trials(folder))]


def measured(folder: Path) -> dict[str, dict[str, Any]]:
    """Finished trial -> all that was measured of it."""
    names = ("validation.", "test.")
    found = {row["id"]: row for row in table(folder) if row["status"] == "finished"}
    # A table has a column where any of its trials has a value: of the other stream's tasks, for instance.
    return {
        name: {k: v for k, v in row.items() if k.startswith(names) and v is not None}
        for name, row in found.items()
    }


def finish(file: Path, folder: Path) -> None:
    """Run or resume to the end, with a runtime of its own."""
    check(start(file, folder), folder)


class OutOfTime(Exception):
    """The minutes are over."""


class Kills:
    """All kills, in as many calls as it takes.

    Args:
        folder: what is kept of it: `kills.json`, and the sweeps under way.
        kills: in all.
        seed: of the instants and victims.
        length: seconds that the trials of a sweep take, about.
        end: `time.monotonic()` at which to stop.
    """

    def __init__(self, folder: Path, kills: int, seed: int, length: float, end: float) -> None:
        self.folder, self.kills, self.length, self.end = folder, kills, length, end
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / "kills.json"
        known = json.loads(self._file.read_text()) if self._file.exists() else {}
        self.done: list[dict[str, Any]] = known.get("kills", [])
        self.sweeps: list[dict[str, Any]] = known.get("sweeps", [])
        self.open: dict[str, Any] = known.get("open", {})
        self._chance = random.Random(f"{seed} {len(self.done)}")
        self._machines: Any = None
        self._nodes: list[Any] = []
        self._driver: subprocess.Popen[bytes] | None = None

    def save(self) -> None:
        """Keep what has been found."""
        known = {"kills": self.done, "sweeps": self.sweeps, "open": self.open}
        self._file.write_text(json.dumps(known, indent=1))

    def run(self) -> None:
        """Until all are done or the time is over."""
        try:
            while self.open or len(self.done) < self.kills:
                self._wait(0.0)
                self._sweep(self.open.get("mode") or list(MODES)[len(self.sweeps) % len(MODES)])
        except OutOfTime:
            pass
        finally:
            self._end_driver()
            if self._machines is not None:
                self._machines.end()
            self.save()

    def _sweep(self, mode: str) -> None:
        """One sweep, killed until it ends, or on from where it was left."""
        file, folder = self.folder / f"{mode}.yaml", self.folder / "sweep"
        file.write_text(yaml.safe_dump(MODES[mode], sort_keys=False))
        whole = self._whole("curve" if mode != "search" else mode)
        if not self.open:
            shutil.rmtree(folder, ignore_errors=True)
            self.open = {"mode": mode, "known": {}, "lost": 0, "repeated": 0, "kills": 0}
        self._come()
        driver = self._driver = start(file, folder, self._machines.address)
        while driver.poll() is None:
            left = len(self.done) < self.kills and self.open["kills"] < PER_SWEEP
            if left and self._until_it_works(folder, driver):
                driver = self._kill(WHAT[len(self.done) % len(WHAT)], file, folder, driver)
            elif driver.poll() is None:
                self._wait(0.2)
            self._count(folder)
        check(driver, folder)
        self._count(folder)
        same = (
            table(folder) == table(whole) if mode in ("curve", "search") else self._each_alike(folder, whole)
        )
        self.sweeps.append({**self.open, "trials": len(results(folder)), "same": same})
        self.open = {}
        self.save()
        print(f"  {mode}: {'the same' if same else 'ANOTHER'} table", file=sys.stderr, flush=True)

    def _each_alike(self, folder: Path, whole: Path) -> bool:
        expected, found = measured(whole), measured(folder)
        return bool(found) and all(expected[name] == numbers for name, numbers in found.items())

    def _whole(self, mode: str) -> Path:
        """The folder of an uninterrupted sweep."""
        folder, file = self.folder / f"whole-{mode}", self.folder / f"{mode}.yaml"
        file.write_text(yaml.safe_dump(MODES[mode], sort_keys=False))
        if not (folder / "final.md").exists():
            self._come()
            driver = self._driver = start(file, folder, self._machines.address)
            while driver.poll() is None:
                self._wait(0.2)
            check(driver, folder)
        return folder

    def _count(self, folder: Path) -> None:
        """What is known to be finished stays, and stays as it is."""
        now, known = results(folder), self.open["known"]
        self.open["lost"] += sum(name not in now for name in known)
        self.open["repeated"] += sum(now.get(name, stamp) != stamp for name, stamp in known.items())
        self.open["known"] = now

    def _until_it_works(self, folder: Path, driver: subprocess.Popen[bytes]) -> bool:
        """Wait until a worker has written since the driver began; a kill while Ray starts would hit no trial."""
        since = psutil.Process(driver.pid).create_time()
        while driver.poll() is None:
            if (
                any(file.stat().st_mtime > since for file in folder.glob("trials/*/trial.json"))
                and self._workers()
            ):
                self._wait(self._chance.uniform(0.0, 0.3) * self.length)
                return driver.poll() is None
            self._wait(0.1)
        return False

    def _wait(self, seconds: float) -> None:
        if time.monotonic() + seconds > self.end:
            raise OutOfTime
        time.sleep(seconds)

    # -- the cluster -----------------------------------------------------------------------------------
    def _come(self) -> None:
        """A head and two nodes, whatever is missing of them."""
        from machines import Machines

        if self._machines is None:
            self._machines, self._nodes = Machines(), []
        while len(self._nodes) < 2:
            self._nodes.append(self._machines.add(1))

    def _workers(self) -> list[psutil.Process]:
        from machines import workers

        return workers(*self._nodes)

    def _kill(
        self, what: str, file: Path, folder: Path, driver: subprocess.Popen[bytes]
    ) -> subprocess.Popen[bytes]:
        """One kill, and what it takes to go on; the driver from then on."""
        from machines import raylet

        node = self._chance.choice(self._nodes)
        busy = self._workers()
        if what == "worker":
            if not busy:
                return driver
            self._chance.choice(busy).kill()
        elif what == "raylet":
            psutil.Process(raylet(node)).kill()
        if what in ("raylet", "node"):
            self._machines.remove(node)
            self._nodes.remove(node)
        if what == "head":
            self._machines.end()
            self._machines = None
        if what in ("driver", "head"):
            self._end_driver()
        self.done.append({"mode": self.open["mode"], "what": what, "finished": len(results(folder))})
        self.open["kills"] += 1
        self._count(folder)
        self.save()
        number = f"{len(self.done)} of {self.kills}"
        print(f"  {number}: {what}, {len(results(folder))} trials finished", file=sys.stderr, flush=True)
        self._come()
        if what in ("driver", "head"):
            self._driver = start(file, folder, self._machines.address)
            return self._driver
        return driver

    def _end_driver(self) -> None:
        if self._driver is not None and self._driver.poll() is None:
            self._driver.kill()
            self._driver.wait()
        self._driver = None


def figures(found: Kills) -> str:
    """What has been found so far, as a table."""
    by = ", ".join(WHAT)
    lines = [f"| mode | sweeps | kills | of {by} | finished trials lost | done again | same table |"]
    lines.append("|---|--:|--:|--:|--:|--:|---|")
    for mode in MODES:
        sweeps = [one for one in found.sweeps if one["mode"] == mode]
        kills = Counter(one["what"] for one in found.done if one["mode"] == mode)
        lost, repeated = (sum(one[name] for one in sweeps) for name in ("lost", "repeated"))
        same = sum(one["same"] for one in sweeps)
        by = ", ".join(str(kills[what]) for what in WHAT)
        lines.append(
            f"| {mode} | {len(sweeps)} | {kills.total()} | {by} | {lost} | {repeated} | {same} of {len(sweeps)} |"
        )
    left = f"; {found.kills - len(found.done)} are left" if len(found.done) < found.kills else ""
    return "\n".join([f"{len(found.done)} of {found.kills} kills{left}.", "", *lines])


def main() -> None:
    if sys.argv[1:2] == ["--drive"]:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        drive(*sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--length", type=float, default=20, help="seconds that the trials take, about")
    parser.add_argument(
        "--minutes", type=float, default=float("inf"), help="after which it stops [until done]"
    )
    parser.add_argument("--folder", type=Path, default=Path("build/sweep-kills"), help="what it goes on from")
    given = parser.parse_args()
    found = Kills(given.folder, given.kills, given.seed, given.length, time.monotonic() + 60 * given.minutes)
    found.run()
    print(figures(found))
    raise SystemExit(0 if all(s["same"] and not s["lost"] + s["repeated"] for s in found.sweeps) else 1)


if __name__ == "__main__":
    main()
