"""`python -m cl_forget.claims`: the same as `cl-forget claims FILE... --jobs N`, with nothing but the library.

    python -m cl_forget.claims experiments/*/claims.yaml --jobs 16 --minutes 10 --output runs/claims
    python -m cl_forget.claims experiments/*/claims.yaml --world vision --slices    what each claim costs, in order

For a machine that lends its processors for a while: it runs, and leaves verdicts to `cl-forget claims --no-run`.
What `--records` holds counts as run, and what is over is written there every minute: that file is all that has to
come back from the machine.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from cl_forget.claims.flatness import gone
from cl_forget.claims.order import slices
from cl_forget.claims.planning import Plan, plan
from cl_forget.claims.records import RECORDS, keep_records, load_records
from cl_forget.claims.reuse import Reuse
from cl_forget.claims.running import run
from cl_forget.ground.environment import quiet_libraries
from cl_forget.ground.progress import begin

EVERY = 60.0
"""Seconds between two times at which the records are written."""


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--only", action="append", default=[], help="only the claim of this name; repeatable")
    parser.add_argument("--world", action="append", default=[], help="only this world; repeatable")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin nothing after that long")
    parser.add_argument("--output", type=Path, default=Path("runs/claims"))
    parser.add_argument(
        "--records", type=Path, default=Path("experiments") / RECORDS, help="what was run, before and now"
    )
    parser.add_argument(
        "--reuse", type=Path, action="append", default=[],
        help="a sweep's folder or a folder of runs that count, or an experiment file whose runs are made elsewhere",
    )  # fmt: skip
    parser.add_argument(
        "--tuning", action="store_true",
        help="only the settings to choose among: what is averaged over seeds should all come from one machine",
    )  # fmt: skip
    parser.add_argument(
        "--slices", action="store_true", help="show what each claim costs, in order; run nothing"
    )
    given = parser.parse_args()
    quiet_libraries()
    with begin("planning the claims"):
        made = plan(given.files, given.only, given.world)
    if given.slices:
        _show(made, given.output, given.records, given.reuse)
        return
    until = time.time() + 60 * given.minutes
    last = time.time()

    def keep() -> None:
        known = load_records(given.output, [given.records])
        keep_records(list(known.values()), given.records)

    def tell(line: str) -> None:
        nonlocal last
        print(line, flush=True)
        if time.time() > last + EVERY:
            keep()
            last = time.time()

    try:
        if not run(
            made, given.output, [given.records], given.jobs,
            until=until, tell=tell, reuse=given.reuse, report=not given.tuning,
        ):  # fmt: skip
            tell("time is over before everything was begun; the same command goes on")
    finally:
        keep()


def _show(made: Plan, output: Path, records: Path, reuse: list[Path]) -> None:
    known = load_records(output, [records])
    source = Reuse(made, reuse, print)
    known |= {name: trial for name, (trial, _) in source.look(known).items()}
    for name in gone(made, list(known.values()), output):
        del known[name]
    total = 0.0
    print("fine-tunes  in all  trials  claim")
    for piece in slices(made, known, source.coming):
        total += piece.price
        print(
            f"{piece.price:10.1f} {total:7.1f} {piece.trials:7d}  {piece.asked.claim.name} ({piece.asked.world})"
        )


if __name__ == "__main__":
    main()
