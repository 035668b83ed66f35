"""Hypothesis strategies for files that were valid once: documents changed in structure, bytes damaged."""

# ruff: noqa: E501  tables of values read best with many in a line

from __future__ import annotations

import copy
import json
import struct
from collections.abc import Callable, Sequence
from typing import Any

import yaml
from hypothesis import strategies as st

Json = Any
Draw = Callable[[st.SearchStrategy[Any]], Any]

NASTY_TEXTS = (
    "", " ", "\0", "a\0b", "..", "../victim", "/etc/hostname", "~", "C:\\x", "a\nb", "\x1b[31mred", "\u2028", "é" * 300,
    "x" * 5000, "{q!z}", "{", "}", "{}", "{0}", "{a.__class__}", "{text:>99999999999}", "{text!r:x}", "=1+1", "null",
    "nan", "-1", "1e400", "True", "\ud800", "train", "items", "🙂", "../../etc/passwd", "hf:x", "a: b", "*a", "&a", "%",
)  # fmt: skip
NASTY_NUMBERS = (0, 1, -1, 2, 3, 255, 2**31, 2**32, 2**53 + 1, 2**60, 2**63, 2**64 - 1, -(2**63), 10**30, 0.5, -0.0,
                 1e-320, 1e308, float("inf"), float("-inf"), float("nan"))  # fmt: skip

scalars = (
    st.sampled_from((None, True, False))
    | st.sampled_from(NASTY_NUMBERS)
    | st.sampled_from(NASTY_TEXTS)
    | st.text(max_size=8)
    | st.integers(-9, 300)
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(NASTY_TEXTS) | st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


def _places(value: Json, where: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value inside, the whole first."""
    inside: Any = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    return [where, *(place for key, inner in inside for place in _places(inner, (*where, key)))]


def _at(value: Json, where: Sequence[Any]) -> Json:
    for key in where:
        value = value[key]
    return value


def _changed(draw: Draw, value: Json) -> Json:
    """The document with one value replaced, left out, doubled, renamed or wrapped."""
    where = draw(st.sampled_from(_places(value)))
    if not where:
        return draw(values) if draw(st.integers(0, 9)) == 0 else value
    parent, key = _at(value, where[:-1]), where[-1]
    match draw(st.integers(0, 6)):
        case 0:
            del parent[key]
        case 1 if isinstance(parent, dict):
            name = draw(st.sampled_from(NASTY_TEXTS) | st.sampled_from(sorted(parent)))
            parent[name] = parent.pop(key)
        case 1:
            parent.insert(key, copy.deepcopy(parent[key]))
        case 2:
            parent[key] = [parent[key]] if draw(st.booleans()) else {"x": parent[key]}
        case 3:
            parent[key] = copy.deepcopy(_at(value, draw(st.sampled_from(_places(value)))))
        case 4 if isinstance(parent[key], dict):
            parent[key][draw(st.sampled_from(NASTY_TEXTS) | st.text(max_size=5))] = draw(values)
        case _:
            parent[key] = draw(values)
    return value


@st.composite
def documents(draw: Draw, *seeds: Json) -> Json:
    """One of the seeds after a few changes of its structure."""
    value = copy.deepcopy(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.sampled_from((0, 1, 1, 1, 2, 2, 4)))):
        value = _changed(draw, value)
    return value


@st.composite
def damaged(draw: Draw, content: bytes) -> bytes:
    """The bytes, in most cases as they are, else cut, flipped, doubled or with strangers among them."""
    for _ in range(draw(st.sampled_from((0, 0, 0, 1, 2)))):
        at = draw(st.integers(0, len(content)))
        to = min(len(content), at + draw(st.integers(0, 40)))
        match draw(st.integers(0, 4)):
            case 0:
                content = content[:at]
            case 1:
                content = content[:at] + content[to:]
            case 2:
                content = content[:to] + content[at:]
            case 3:
                content = content[:at] + draw(st.binary(min_size=1, max_size=8)) + content[to:]
            case _:
                content = content[:at] + draw(st.sampled_from(_STRANGERS)) + content[at:]
    return content


_STRANGERS = (
    b"\0", b"\xff", b"\xef\xbb\xbf", b"\xff\xfe", b"\r\n", b"\n", b"\xe2\x80\xa8", b"\xc2\x85", b"[" * 3000, b'{"a":' * 3000,
    b'"', b"'", b",", b";", b"\t", b"\\ud800", b"1" * 5000, b"NaN", b"#", b"---\n", b"*a", b"&a ", b"!!python/name:os ",
)  # fmt: skip

noise = (
    st.binary(max_size=120)
    | st.sampled_from(_STRANGERS)
    | st.text(max_size=60).map(lambda t: t.encode("utf-8", "replace"))
)


def _json(value: Json, compact: bool) -> bytes:
    return json.dumps(value, separators=(",", ":") if compact else None).encode()


@st.composite
def json_files(draw: Draw, *seeds: Json) -> bytes:
    """JSON made from the seeds, now and then something else."""
    if draw(st.integers(0, 19)) == 0:
        return draw(noise)
    return draw(damaged(_json(draw(documents(*seeds)), draw(st.booleans()))))


@st.composite
def json_lines(draw: Draw, *seeds: list[Json]) -> bytes:
    """One JSON value per line, or all of them in one array."""
    if draw(st.integers(0, 19)) == 0:
        return draw(noise)
    rows = draw(documents(*seeds))
    if not isinstance(rows, list) or draw(st.integers(0, 9)) == 0:
        return draw(damaged(_json(rows, False)))
    return draw(
        damaged(
            b"\n".join(_json(row, draw(st.booleans())) for row in rows) + draw(st.sampled_from((b"", b"\n")))
        )
    )


YAML_LINES = (
    "a: &a [*a]", "? [a, b]\n: c", "<<: *a", "<<: {model: x}", "1: 2", "yes: no", "~: 1", "- a", "\tx: 1", "model: !!binary aGk=",
    "name: !!python/object/apply:os.system [ls]", "z: &z {x: *z}", "seeds: [1, 1]", "seeds: 0x10", "train: *t", "? a", "...",
    "name: 2024-01-01", "name: 1:30", "x: " + "[" * 400, "x: " + "{a: " * 400, "{", "\ufeff", "%YAML 9.9", "=: 1",
    "a0: &a0 [x, x, x, x, x, x, x, x, x]\na1: &a1 [*a0, *a0, *a0, *a0, *a0, *a0, *a0, *a0]\na2: &a2 [*a1, *a1, *a1, *a1, *a1]\n"
    "a3: &a3 [*a2, *a2, *a2, *a2, *a2]\na4: &a4 [*a3, *a3, *a3, *a3, *a3]\nstream: [*a4, *a4, *a4, *a4, *a4]",
)  # fmt: skip


@st.composite
def yaml_files(draw: Draw, *seeds: Json) -> bytes:
    """YAML made from the seeds, now and then with lines of YAML's own traps, or something else."""
    if draw(st.integers(0, 19)) == 0:
        return draw(noise)
    value = draw(documents(*seeds))
    text = yaml.safe_dump(
        value, sort_keys=False, allow_unicode=False, default_flow_style=draw(st.sampled_from((None, True)))
    )
    for _ in range(draw(st.sampled_from((0, 0, 1, 2)))):
        lines = text.split("\n")
        lines.insert(draw(st.integers(0, len(lines))), draw(st.sampled_from(YAML_LINES)))
        text = "\n".join(lines)
    return draw(damaged(text.encode("utf-8", "replace")))


@st.composite
def tables(draw: Draw, *seeds: list[list[str]]) -> bytes:
    """Comma-separated rows with cells and columns changed."""
    if draw(st.integers(0, 19)) == 0:
        return draw(noise)
    rows = copy.deepcopy(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(0, 3))):
        row = rows[draw(st.integers(0, len(rows) - 1))]
        match draw(st.integers(0, 2)):
            case 0 if row:
                row.pop()
            case 1:
                row.append(draw(st.sampled_from(NASTY_TEXTS)))
            case _ if row:
                row[draw(st.integers(0, len(row) - 1))] = draw(st.sampled_from(NASTY_TEXTS))
    sign = draw(st.sampled_from((",", ",", ",", ";", "\t", "|")))
    quoted = draw(st.booleans())
    cells = (sign.join('"' + c.replace('"', '""') + '"' if quoted else c for c in row) for row in rows)
    return draw(damaged("\n".join(cells).encode("utf-8", "replace")))


@st.composite
def safetensors_files(draw: Draw, header: Json, data: bytes) -> bytes:
    """A safetensors file whose header was changed, or whose length does not say the truth."""
    if draw(st.integers(0, 19)) == 0:
        return draw(noise)
    text = draw(damaged(_json(draw(documents(header)), True)))
    length = (
        len(text)
        if draw(st.integers(0, 4))
        else draw(st.sampled_from((0, 1, 2**31, 2**60, 2**64 - 1, len(text) + 9)))
    )
    cut = len(data) if draw(st.integers(0, 4)) else draw(st.integers(0, len(data)))
    return struct.pack("<Q", length) + text + data[:cut]
