"""Fuzzing in full: how many bad files of each format were read rightly, or refused in one line.

    python benchmarks/fuzz.py --examples 10000
    python benchmarks/fuzz.py --examples 200 --only "JSON lines" --seed 7

A third outcome (a traceback, a hang, something written elsewhere) is shown with the example that made it, made as
small as it gets, and the exit code is 1. Slow formats can be given a share of the examples with `--slow`.
"""

from __future__ import annotations

import argparse
import logging
import resource
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

sys.path[0] = str(Path(__file__).parents[1] / "tests")  # in place of the folder of this file


def main() -> int:
    """Run the formats asked for, and print a table."""
    import tiny  # noqa: F401  registers the tiny model and streams
    from fuzzing.formats import FORMATS

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=1000, help="per format")
    parser.add_argument("--only", action="append", choices=list(FORMATS), help="formats; repeatable")
    parser.add_argument("--seed", type=int, default=0, help="of the examples")
    parser.add_argument(
        "--slow", type=float, default=1.0, help="share of the examples for formats that load models"
    )
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    print("| format | examples | right | refused | different refusals | slowest, s | third outcome |")
    print("|---|---|---|---|---|---|---|")
    limit_memory()
    bad = 0
    for name in asked.only or FORMATS:
        examples = asked.examples if FORMATS[name].cost < 20 else max(1, round(asked.examples * asked.slow))
        bad += not run(name, examples, asked.seed)
    return 1 if bad else 0


def limit_memory(more: int = 6 * 2**30) -> None:
    """What would take gigabytes more than the libraries do fails, instead of filling the machine."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + more, hard))


def run(name: str, examples: int, seed: int) -> bool:
    """One format; whether there were two outcomes only."""
    from fuzzing.formats import FORMATS
    from fuzzing.harness import Outcomes, attempt
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import seed as seeded
    from hypothesis import strategies as st

    format_, outcomes, last = FORMATS[name], Outcomes(), {}
    started = time.perf_counter()

    @seeded(seed)
    @settings(
        max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink], print_blob=False,
    )  # fmt: skip
    @given(st.data())
    def all_examples(data: st.DataObject) -> None:
        last["files"] = data.draw(format_.files)
        attempt(format_, last["files"], place, outcomes)

    failure = ""
    with tempfile.TemporaryDirectory(prefix="fuzz") as temporary:
        place = Path(temporary) / "place"
        try:
            all_examples()
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt | SystemExit):
                raise
            failure = f"{type(error).__name__}: {error}"[:200]
            traceback.print_exc()
            print(f"{name}: {str(last.get('files'))[:3000]}", file=sys.stderr)
    count = outcomes.right + outcomes.refused
    messages = len(outcomes.messages)
    figures = f"{count:,} | {outcomes.right:,} | {outcomes.refused:,} | {messages:,} | {outcomes.slowest:.2f}"
    print(f"| {name} | {figures} | {failure.splitlines()[0] if failure else 'none'} |", flush=True)
    print(f"{name}: {time.perf_counter() - started:.0f} s", file=sys.stderr)
    return not failure


if __name__ == "__main__":
    sys.exit(main())
