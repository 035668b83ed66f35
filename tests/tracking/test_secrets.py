"""No secret reaches a file, a log, a report or W&B."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from wandb_server import KEY, Server

from cl_forget.cli import main
from cl_forget.config import Run
from cl_forget.errors import UserError
from cl_forget.redact import MARK, redact
from cl_forget.reporting import report
from cl_forget.simulation import simulate

MakeRun = Callable[..., Run]
HUB = "hub-secret-0f9e8d7c6b5a"
FIELD = "field-secret-1a2b3c4d5e6f"
ARGUMENT = "argument-secret-a9b8c7d6e5"
SECRETS = (KEY, HUB, FIELD, ARGUMENT)


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    import wandb

    wandb.teardown()
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("HF_TOKEN", HUB)
    monkeypatch.setattr("sys.argv", ["cl-forget", "run", "mine.yaml", f"stream.hub.token={ARGUMENT}"])


@pytest.fixture
def secretive(tiny_run: MakeRun) -> MakeRun:
    """A run whose stream needs a token, as data from a hub may."""
    from cl_forget.streams import STREAMS

    STREAMS.add("private-squares", f"{__name__}:private_squares")

    def make(mode: str) -> Run:
        return tiny_run(
            stream=[{"private-squares": {"token": FIELD, "comment": f"as {HUB}"}}],
            train={"epochs": 1, "batch_size": 12},
            probes=[],
            track={"wandb": mode, "artifacts": True, "timeout": 30},
        )

    return make


def private_squares(token: str, comment: str) -> list[object]:
    from tiny import squares

    assert token == FIELD, "the run itself is given the token"
    return list(squares(tasks=1))


def leaks(folder: Path) -> Iterator[str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 10
    for path in files:
        content = path.read_bytes()
        yield from (f"{secret} in {path}" for secret in SECRETS if secret.encode() in content)


@pytest.mark.parametrize("mode", ["offline", "online"])
def test_keys_of_environment_configuration_and_command_are_in_nothing_written(
    secretive: MakeRun,
    keys: None,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    mode: str,
) -> None:
    with Server() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        with caplog.at_level(logging.DEBUG):
            result = simulate(secretive(mode), tmp_path / "run")
            report([result], tmp_path / "report")
        sent = [str(value) for run in server.runs.values() for value in vars(run).values()]
        assert bool(sent) == (mode == "online")
    assert list(leaks(tmp_path)) == []
    place = tmp_path_factory.getbasetemp() / "wandb"  # where wandb keeps its own cache and logs in tests
    assert place.exists() and list(leaks(place)) == []
    seen = capfd.readouterr()
    written = "".join([caplog.text, seen.out, seen.err, *sent])
    assert not [secret for secret in SECRETS if secret in written]
    assert result.run["stream"][0]["private-squares"] == {"token": MARK, "comment": f"as {MARK}"}
    assert result.environment["command"] == f"cl-forget run mine.yaml stream.hub.token={MARK}"


def test_a_mistake_is_explained_without_the_secret(
    keys: None, workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (workspace / "mine.yaml").write_text("model: tiny-clip\nstream: squares\n")
    monkeypatch.setattr("sys.argv", ["cl-forget", "run", "mine.yaml", f"track.wandb={HUB}"])
    with pytest.raises(SystemExit, match="2"):
        main()
    error = capsys.readouterr().err
    assert "track.wandb" in error and HUB not in error


@pytest.mark.parametrize(
    ("value", "redacted"),
    [
        ({"token": "abcdef123456"}, {"token": MARK}),
        ({"hub": {"api_key": "x1y2z3", "name": "public"}}, {"hub": {"api_key": MARK, "name": "public"}}),
        ({"pad_token": "<pad>", "max_tokens": 64, "tokenizer": "bpe"}, None),
        ({"token": None, "password": ""}, None),
        ("https://me:pw12345@example.org/data", f"https://{MARK}@example.org/data"),
        ("read hf_abcdefghijklmnopqrstuvwx here", f"read {MARK} here"),
        (["--password=hunter22", "lr=0.1"], [f"--password={MARK}", "lr=0.1"]),
        ((1, None, True), None),
    ],
)
def test_what_is_a_secret(value: object, redacted: object) -> None:
    assert redact(value) == (value if redacted is None else redacted)


def test_redacting_changes_nothing_in_place(keys: None) -> None:
    given = {"token": "abcdef123456", "list": [HUB]}
    redact(given)
    assert given == {"token": "abcdef123456", "list": [HUB]}


def test_a_sweeps_folder_holds_no_secret_and_is_resumed_all_the_same(keys: None, tmp_path: Path) -> None:
    from cl_forget.sweeps.folder import known_state, new_folder
    from cl_forget.sweeps.specification import Sweep
    from cl_forget.sweeps.trials import Trial, load_trial, write_table

    private = {"private-squares": {"token": FIELD, "comment": f"as {HUB}"}}
    sweep = Sweep(model="tiny-clip", stream=[private], suites=["colours"], methods={"L2-SP": ["l2_sp"]})
    new_folder(tmp_path, sweep)
    trial = Trial(sweep="s", id="t", method="L2-SP", status="failed", config=private, reason=f"401: {HUB}")
    trial.save(tmp_path)
    write_table([trial], tmp_path)
    for path in tmp_path.rglob("*.*"):
        assert not [secret for secret in SECRETS if secret.encode() in path.read_bytes()], path
    assert MARK in (tmp_path / "sweep.yaml").read_text()
    saved = load_trial(tmp_path, "t")
    assert saved is not None and saved.reason == f"401: {MARK}"
    assert known_state(tmp_path, sweep, resume=True) is not None
    other = sweep.model_copy(update={"seeds": [1]})
    with pytest.raises(UserError, match=r"started with other settings: seeds was \[0\] and is \[1\]\."):
        known_state(tmp_path, other, resume=True)
