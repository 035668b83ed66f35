"""No secret reaches a file, a log, a report or W&B."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from wandb_server import KEY, Server

from cl_forget.cli import main
from cl_forget.config.run import Run
from cl_forget.ground.errors import UserError
from cl_forget.ground.redact import MARK, redact
from cl_forget.reporting import report
from cl_forget.run.simulate import simulate

MakeRun = Callable[..., Run]
HUB = "hub-secret-0f9e8d7c6b5a"
FIELD = "field-secret-1a2b3c4d5e6f"
ARGUMENT = "argument-secret-a9b8c7d6e5"
TAG = "p/TAGSECRET@w"
QUERY = "querysecret5f4dcc3b"
ENVIRONMENT = "env-secret-77aa/88bb"
SECRETS = (KEY, HUB, FIELD, ARGUMENT, TAG, "TAGSECRET", QUERY, ENVIRONMENT)


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    import wandb

    wandb.teardown()
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("HF_TOKEN", HUB)
    monkeypatch.setenv("DATABASE_PASS", ENVIRONMENT)
    monkeypatch.setattr(
        "sys.argv", ["cl-forget", "run", "mine.yaml", f"stream.hub.token={ARGUMENT}", "--token", ARGUMENT]
    )


@pytest.fixture
def secretive(tiny_run: MakeRun) -> MakeRun:
    """A run whose stream needs a token, as data from a hub may."""
    from cl_forget.streams import STREAMS

    STREAMS.add("private-squares", f"{__name__}:private_squares")

    def make(mode: str) -> Run:
        return tiny_run(
            stream=[{"private-squares": {"token": FIELD, "comment": f"as {HUB}"}}],
            method=f"with {ENVIRONMENT}",
            train={"epochs": 1, "batch_size": 12},
            probes=[],
            track={
                "wandb": mode,
                "artifacts": True,
                "timeout": 30,
                "tags": [f"https://u:{TAG}@host", f"https://host/?sig={QUERY}"],
                "group": f"of {HUB}",
                "job_type": f"for {ENVIRONMENT}",
            },
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
    assert result.environment["command"] == f"cl-forget run mine.yaml stream.hub.token={MARK} --token {MARK}"


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
        ("https://u:p@SS/w@host/x", f"https://{MARK}@host/x"),
        ("git+https://u:p/a/s@host", f"git+https://{MARK}@host"),
        ("https://oauth2@host/x", f"https://{MARK}@host/x"),
        ("redis://:pw@host:1/0", f"redis://{MARK}@host:1/0"),
        ("https://h/x?token=abc&sig=e%2F&lr=1#key=k", f"https://h/x?token={MARK}&sig={MARK}&lr=1#key={MARK}"),
        (
            "s3://b/a?X-Amz-Credential=A%2Fb&X-Amz-Signature=0f",
            f"s3://b/a?X-Amz-Credential={MARK}&X-Amz-Signature={MARK}",
        ),
        ("run --token X --lr 1", f"run --token {MARK} --lr 1"),
        (["--api-key", "X", "--lr", "1"], ["--api-key", MARK, "--lr", "1"]),
        ("--password=a,b;c&d", f"--password={MARK}"),
        ("Bearer abcdefgh12345", f"Bearer {MARK}"),
        ("authorization: Basic dXNlcjpwYXNz", f"authorization: {MARK} {MARK}"),
        ("see github_pat_11ABCDEFG0abcdefghij_xyz.", f"see {MARK}."),
        ("glpat-ABCDEFGHIJ1234567890", MARK),
        ("xoxb-1234567890-abcdefGHIJ", MARK),
        ("AIzaSyA1234567890abcdefghijklmnopqrstuvw", MARK),
        ("ghp_" + "a1B2" * 9, MARK),
        ("SG." + "a" * 22 + "." + "b" * 43, MARK),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N", MARK),
        ("a -----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY----- b", f"a {MARK} b"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\ncut off", MARK),
        (
            {"password": 12345678, "accessToken": "x", "client-secret": "y"},
            {"password": MARK, "accessToken": MARK, "client-secret": MARK},
        ),
        (
            {"credentials": {"user": "u", "pins": ["1", 2]}},
            {"credentials": {"user": MARK, "pins": [MARK, MARK]}},
        ),
        ('{"token": "abc def", "lr": 1}', f'{{"token": "{MARK}", "lr": 1}}'),
        ("smtp_pass: hunter2x", f"smtp_pass: {MARK}"),
        ("gsk_" + "a1B2c3D4" * 4, MARK),
        ("with r8_" + "Z9y8X7w6" * 4 + ", then", f"with {MARK}, then"),
        ("dckr_pat_" + "a1B2c3D4" * 3, MARK),
        ("local-" + "0a1b2c3d4e" * 4, MARK),
        ("machine h\n login me\n password hunter2", f"machine h\n login me\n password {MARK}"),
        (
            "https://chat.example/api/webhooks/1234/" + "a-B_c" * 8,
            f"https://chat.example/api/webhooks/1234/{MARK}",
        ),
        ("Set-Cookie: session=abc; Path=/", f"Set-Cookie: {MARK}"),
        ({"cookies": {"session": "abc"}, "jwt": "x.y"}, {"cookies": {"session": MARK}, "jwt": MARK}),
        ([{"name": "HF_TOKEN", "value": "abc"}], [{"name": "HF_TOKEN", "value": MARK}]),
        ({"name": "rank", "value": 8}, None),
        ({"methods": {"FLOW by token": {"mitigations": [{"flow": {"level": "unit"}}]}}}, None),
        ({"methods": {"by-token": ["lora"], "FLOW, my token": ["flow"], "flow_token": [{"flow": {}}]}}, None),
        (
            {"tokens_of": 1, "my token": "abc", "api_keys": ["a"]},
            {"tokens_of": 1, "my token": MARK, "api_keys": [MARK]},
        ),
        (
            {"flow_token": {"mitigations": [], "password": "x"}},
            {"flow_token": {"mitigations": [], "password": MARK}},
        ),
    ],
)
def test_what_is_a_secret(value: object, redacted: object) -> None:
    assert redact(value) == (value if redacted is None else redacted)


def test_redacting_changes_nothing_in_place(keys: None) -> None:
    given = {"token": "abcdef123456", "list": [HUB]}
    redact(given)
    assert given == {"token": "abcdef123456", "list": [HUB]}


def test_a_sweeps_folder_holds_no_secret_and_is_resumed_all_the_same(keys: None, tmp_path: Path) -> None:
    from cl_forget.comparison.trials import Trial, load_trial, write_table
    from cl_forget.config.sweep import Sweep
    from cl_forget.sweeps.folder import known_state, new_folder

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


@pytest.mark.parametrize(
    "name",
    ["DB_PASS", "PGPASSWORD", "MY_TOKEN", "SOME_KEY", "X_SECRET", "AWS_SECRET_ACCESS_KEY", "MYSQL_PWD"],
)
def test_values_of_the_environment_are_hidden_in_whatever_form(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, 's3/cr"et@x')
    written = ['as s3/cr"et@x.', "https://h/s3%2Fcr%22et%40x", '{"a": "s3/cr\\"et@x"}']
    assert redact(written) == [f"as {MARK}.", f"https://h/{MARK}", f'{{"a": "{MARK}"}}']


def test_a_key_of_several_lines_is_hidden_line_by_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEPLOY_KEY", "first-line-of-the-key-1\nsecond-line-of-the-key")
    assert redact("> second-line-of-the-key") == f"> {MARK}"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("KEYBOARD_LAYOUT", "emoji-clip"),
        ("SOME_KEY", "on"),
        ("USE_TOKEN", "digits"),
        ("OLDPWD", "/gone/emoji-clip"),
        ("MONKEY", "emoji-clip"),
    ],
)
def test_ordinary_variables_hide_nothing(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    assert redact("model: emoji-clip, stream: digits, on /gone/emoji-clip") == (
        "model: emoji-clip, stream: digits, on /gone/emoji-clip"
    )


@pytest.mark.parametrize(
    "text",
    [
        "open_clip:ViT-B-32/laion2b_s34b_b79k", "hf:HuggingFaceTB/SmolLM2-135M-Instruct", "git@github.com:a/b",
        "http://localhost:8265/a@b", "https://api.wandb.ai/x:y/@z", "hf://datasets/a/b@main", "ray://head:10001",
        "unexpected token: name", "bearer of news", "the basic instructions", "train.lr=1e-4", "key=validation",
        "0f9e8d7c6b5a4f3e2d1c0b9a8f7e6d5c4b3a2f1e", "a1b2c3d4-e5f6-7890-abcd-ef0123456789", "/home/me/token/a.json",
        "tokens=12 max_tokens=64 top_token=3 pad_token=<pad> eos_token: </s>", "normalise: token", "monkey=chimp",
        "model-Qwen2ForSequenceClassification", "run-Llama4ForConditionalGeneration2", "ViT-SO400M-14-SigLIP-384",
        "hf-0123456789abcdef0123456789abcdef01234567", "https://example.org/docs/hooks/on-train", "login as me",
        "forward_pass: frozen", "scikit-learn sk-learn-contributed-models",
        "--seeds 1 --output runs/a --host hub.example", "2026-11-26 13:22:00 https://example.org/a?page=2&seed=1",
        "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAE",
    ],
)  # fmt: skip
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert redact(text) == text
    assert redact({"a": [text]}) == {"a": [text]}


def test_the_configurations_and_results_of_this_repository_hold_no_secret() -> None:
    import json

    import yaml

    root = Path(__file__).parents[2] / "experiments"
    files = [*root.rglob("*.yaml"), *root.rglob("result.json")]
    assert len(files) > 20
    for file in files:
        text = file.read_text()
        plain = yaml.safe_load(text) if file.suffix == ".yaml" else json.loads(text)
        assert redact(plain) == plain, file


def test_a_crash_shows_its_traceback_without_secrets(
    keys: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import sys

    import cl_forget.cli as cli

    monkeypatch.setattr(sys, "excepthook", sys.excepthook)

    def broken(**_: object) -> None:
        raise RuntimeError(f"refused: {HUB} at https://u:{TAG}@host")

    monkeypatch.setattr(cli, "app", broken)
    with pytest.raises(RuntimeError) as crash:
        main()
    sys.excepthook(crash.type, crash.value, crash.tb)
    error = capsys.readouterr().err
    assert "Traceback" in error and "refused: ***" in error
    assert not [secret for secret in SECRETS if secret in error]


def test_log_lines_and_the_page_of_an_older_result_are_without_secrets(
    keys: None,
) -> None:
    from cl_forget.ground.environment import Discreet

    record = logging.LogRecord("x", logging.WARNING, "", 0, "using %s", (HUB,), None)
    assert Discreet("%(message)s").format(record) == f"using {MARK}"
    from cl_forget.reporting.html.render import recorded_runs
    from cl_forget.reporting.specification import RunRecord

    recorded = {"stream": [{"hub": {"token": FIELD, "path": f"https://u:{TAG}@host"}}]}
    environment = {"command": f"cl-forget run --token {ARGUMENT}"}
    shown = str(recorded_runs([RunRecord("r", "m", 0, recorded, environment, reason=f"401: {HUB}")]))
    assert MARK in shown and not [secret for secret in SECRETS if secret in shown]
