"""Failures of the machine while a command runs: one line and exit code 2, whatever library meets them."""

from __future__ import annotations

import errno
import resource
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cl_forget.ground.failures import failure_of_machine, one_line

COMMAND = [sys.executable, "-c", "from cl_forget.cli import main; main()"]


def started(*arguments: str, **how: Any) -> subprocess.CompletedProcess[str]:
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **how}
    return subprocess.run([*COMMAND, *arguments], text=True, check=False, timeout=120, **streams)


def test_causes_are_found_behind_other_errors() -> None:
    try:
        try:
            raise OSError(errno.ENOSPC, "No space left on device", "/data/x")
        except OSError as error:
            raise RuntimeError("the library failed") from error
    except RuntimeError as error:
        assert failure_of_machine(error) == "/data/x: No space left on device; free some space there."
    assert "raise the limit on file sizes" in str(
        failure_of_machine(Exception("I/O error: File too large (os error 27)"))
    )
    assert "out of memory" in str(failure_of_machine(MemoryError()))
    assert failure_of_machine(ValueError("a mistake of ours")) is None


def test_messages_are_one_printable_line() -> None:
    assert one_line("a\nb\x1b[31m\u2028c\ud800") == "a b\\x1b[31m c\\ud800"
    assert len(one_line("x" * 10_000)) < 2100


def test_a_full_disk_at_the_other_end_of_the_output() -> None:
    with open("/dev/full", "w") as full:
        done = started("list", stdout=full)
    assert done.returncode == 2
    assert done.stderr == "error: No space left on device; free some space there.\n"


def test_a_reader_that_ends_early() -> None:
    with subprocess.Popen(
        [*COMMAND, "list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        error = process.stderr.read()
    assert process.returncode == 2
    assert error.count("\n") == 1
    assert "Broken pipe" in error


@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed(tmp_path: Path, closed: str) -> None:
    """What is printed must not land in the file that is opened next."""
    code = f"{sys.executable} -c 'from cl_forget.cli import main; main()' init lm --output {tmp_path}/lm.yaml"
    done = subprocess.run(["sh", "-c", f"{code} {closed}"], check=False, timeout=120)
    assert done.returncode == 0
    assert (tmp_path / "lm.yaml").read_text().startswith("# What does a language model forget")
    assert [path.name for path in tmp_path.iterdir()] == ["lm.yaml"]


def test_a_limit_on_file_sizes(tmp_path: Path) -> None:
    limited = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (100, 100))
    done = started("init", "--output", str(tmp_path / "clip.yaml"), preexec_fn=limited)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "File too large" in done.stderr
    assert list(tmp_path.iterdir()) == []


FEW = """\
import os, resource, sys
from cl_forget.cli import main
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
taken = []
try:
    while True:
        taken.append(os.open(os.devnull, os.O_RDONLY))
except OSError:
    for descriptor in taken[:int(sys.argv.pop(1))]:
        os.close(descriptor)
main()
"""


@pytest.mark.parametrize("free", range(4))
def test_few_descriptors(tmp_path: Path, free: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FEW, str(free), "init", "--output", str(tmp_path / "clip.yaml")],
        check=False, timeout=120, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode == 0:
        assert [path.name for path in tmp_path.iterdir()] == ["clip.yaml"]
        return
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "Too many open files" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_names_in_brackets_are_text_in_every_table(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.table import Table

    from cl_forget.cli.shared import print_table

    table = Table("method [/a]", title="runs [/b]")
    table.add_row("LDIFS [probe]")
    table.add_row("[/x]")
    print_table(table)
    said = capsys.readouterr().out
    assert all(text in said for text in ("method [/a]", "runs [/b]", "LDIFS [probe]", "[/x]"))
