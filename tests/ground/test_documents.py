"""What files may hold: plain values of bounded size, and everything else is refused in one line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cl_forget.config.experiment import load_experiment
from cl_forget.ground.documents import MAX_DEPTH, parse_json, parse_yaml, read_bytes, read_object, read_text
from cl_forget.ground.errors import UserError


def yaml(text: str) -> object:
    return parse_yaml(text, "file", "mend it.").value


def test_yaml_has_the_types_of_json_and_keys_as_they_are_written() -> None:
    assert yaml("{no: cat, 1: dog, 007: bond, 1.50: x, ~: nothing, 2024-01-01: day}") == {
        "no": "cat", "1": "dog", "007": "bond", "1.50": "x", "~": "nothing", "2024-01-01": "day",
    }  # fmt: skip
    assert yaml("[1e-4, 1_000, 0x10, 1:30, 2024-01-01, 007, =, -.inf, true, null]") == [
        1e-4, 1000, 16, "1:30", "2024-01-01", "007", "=", float("-inf"), True, None,
    ]  # fmt: skip
    assert yaml("") is None


def test_what_two_aliases_stand_for_is_two_values() -> None:
    value = yaml("a: &x {b: [1]}\nc: *x\nd: {<<: *x, e: 2}")
    assert value == {"a": {"b": [1]}, "c": {"b": [1]}, "d": {"b": [1], "e": 2}}
    assert value["a"]["b"] is not value["c"]["b"]  # type: ignore[index]


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 10)}]\n" for i in range(9)
)
MERGES = "a0: &a0 {x: 1, y: 2}\n" + "".join(
    f"a{i + 1}: &a{i + 1} {{<<: [{', '.join([f'*a{i}'] * 20)}]}}\n" for i in range(9)
)


@pytest.mark.parametrize(
    ("text", "words"),
    {
        BOMB: "aliases unfold to more than 100,000 values",
        MERGES: "aliases unfold to more than 100,000 values",
        "a: &a [*a]": "line 1: it refers to itself",
        "a: &a\n  b: {c: *a}": "it refers to itself",
        "[" * 50_000: "too deep",
        "- " * 50_000: "too deep",
        "a: " + "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1): "too deep",
        "? [a, b]\n: c": "must be a plain word",
        "a: 1\nb: 2\na: 3": "line 3: 'a' is given twice",
        "!!python/object/apply:os.system [ls]": "the type !!python/object/apply:os.system is not known",
        "a: !!binary aGk=": "not known here",
        "a: !!set {b}": "not known here",
        "!!int x": "not YAML",
        "!!float x": "not YAML",
        "a: b\n  c: d": "line 2: it is not YAML",
        "*nobody": "not YAML",
        "--- a\n--- b": "not YAML",
        "a: \x07": "not YAML",
        r'a: "\ud800"': "line 1: it holds half of a surrogate pair",
        r'"\udfff": 1': "half of a surrogate pair",
        "a: " + "x" * 600_000: "longer than",
    }.items(),
    ids=lambda value: value[:20] if isinstance(value, str) else None,
)
def test_yaml_that_is_refused(text: str, words: str) -> None:
    with pytest.raises(UserError) as refused:
        yaml(text)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 100_000, "too deep"),
        ('{"a":' * 200 + "1" + "}" * 200, "too deep"),
        ('"\\ud800"', "surrogate"),
        ("1" * 5000, "not JSON"),
        ("{'a': 1}", "not JSON"),
        ("", "not JSON"),
        (b"\xff\xfe", "not JSON"),
    ],
)
def test_json_that_is_refused(text: str | bytes, words: str) -> None:
    with pytest.raises(UserError, match=words):
        parse_json(text, "file", "mend it.")


def test_json_with_pairs_of_surrogates_and_many_brackets() -> None:
    assert parse_json('["\\ud83d\\ude00"]', "file", "mend it.") == ["😀"]
    assert parse_json("[" + "[1]," * 500 + "2]", "file", "mend it.")[-1] == 2


def test_only_text_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "binary").write_bytes(b"\x80\x81")
    (tmp_path / "bom").write_bytes("\ufeffhi".encode())
    (tmp_path / "list").write_text("[1]")
    assert read_text(tmp_path / "bom", "mend it.") == "hi"
    for name, words in {
        "pipe": "no regular file", "binary": "not a UTF-8 text", ".": "is a folder", "absent": "No such file",
        "nul\0": "null byte",
    }.items():  # fmt: skip
        with pytest.raises(UserError, match=words):
            read_text(tmp_path / name, "mend it.")
    with pytest.raises(UserError, match="no regular file"):
        read_bytes(Path("/dev/zero"), "mend it.")
    with pytest.raises(UserError, match="longer than 1 bytes"):
        read_bytes(tmp_path / "list", "mend it.", limit=1)
    with pytest.raises(UserError, match="holds a list, not an object"):
        read_object(tmp_path / "list", "mend it.")


def test_an_experiment_that_the_shell_pipes_in() -> None:
    read, write = os.pipe()
    os.write(write, b"model: tiny-clip\nstream: squares\n")
    os.close(write)
    try:
        assert load_experiment(f"/dev/fd/{read}").model == "tiny-clip"
    finally:
        os.close(read)
