"""`cl-forget claims`: where its ledger goes, why it goes nowhere, and what a dry run refuses."""

from __future__ import annotations

import socket
from pathlib import Path

import claim_samples as small
import pytest
from typer.testing import CliRunner

from cl_forget.cli.app import app
from cl_forget.ground.errors import UserError


def judged(file: Path, *arguments: str) -> str:
    done = CliRunner().invoke(app, ["claims", str(file), "--no-run", *arguments], catch_exceptions=False)
    assert done.exit_code == 0
    return " ".join(done.stdout.split())


def test_the_ledger_of_files_is_written_where_it_is_asked_for(workspace: Path) -> None:
    file = small.write(workspace / "paper", small.KEEPS)
    assert "not written" not in judged(file, "--ledger", "ledger")
    assert "`keeps`" in Path("ledger/README.md").read_text() and Path("ledger/claims.csv").is_file()


@pytest.mark.parametrize(
    ("arguments", "cure"),
    [
        ([], "name a folder for the ledger of these files alone by --ledger"),
        (["--ledger", "ledger", "--only", "keeps"], "leave --only out"),
        (["--ledger", "ledger", "--only", "keeps", "--world", "tiny"], "leave --only and --world out"),
    ],
)
def test_a_ledger_that_is_not_written_says_why(workspace: Path, arguments: list[str], cure: str) -> None:
    file = small.write(workspace / "paper", small.KEEPS)
    said = "the ledger is not written, because p values are adjusted over all claims"
    assert f"{said}: {cure}" in judged(file, *arguments)
    assert [path.name for path in workspace.iterdir()] == ["paper"]


def test_a_file_in_the_place_of_the_ledger_is_named_by_its_option(workspace: Path) -> None:
    file = small.write(workspace / "paper", small.KEEPS)
    Path("taken").write_text("")
    with pytest.raises(UserError, match=r"cannot write to taken: .*; choose another --ledger"):
        judged(file, "--ledger", "taken")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--reuse", "nowhere"], "no nowhere to reuse"),
        (["--ledger", "ledger"], "holds no records of this version"),
    ],
)
def test_a_dry_run_refuses_what_the_command_does(workspace: Path, arguments: list[str], said: str) -> None:
    file = small.write(workspace / "paper", small.KEEPS)
    Path("ledger").mkdir()
    Path("ledger/records.parquet").write_text("none")
    for how in ("--dry-run", "--no-run"):
        with pytest.raises(UserError, match=said):
            judged(file, how, *arguments)
    assert sorted(path.name for path in workspace.iterdir()) == ["ledger", "paper"]


def test_a_dry_run_asks_whether_the_cluster_is_there(workspace: Path) -> None:
    file = small.write(workspace / "paper", small.KEEPS)
    with socket.socket() as taken:  # bound and not listening: nobody answers there
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(UserError, match="no Ray cluster at"):
            judged(file, "--dry-run", "--address", f"127.0.0.1:{taken.getsockname()[1]}")
