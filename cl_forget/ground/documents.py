"""Text, JSON and YAML as every part of the package reads them: bounded, and refused in one line.

A file may come from anybody, may be cut short, and may have been made to hurt: a header that promises 2^60
bytes, brackets nested a million deep, YAML whose aliases unfold to gigabytes, a device in place of a file.
What these functions return is plain (text, numbers, truth values, None, lists, mappings with text as keys),
finite in depth and size, and can be written as UTF-8 again.
"""

from __future__ import annotations

import codecs
import json
import re
import stat
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from cl_forget.ground.errors import UserError, first_line

MAX_BYTES = 256 * 2**20
"""The longest file that is read whole; records of a run are far below it."""
MAX_DEPTH = 64
"""How deep lists and mappings may be nested."""
MAX_YAML_CHARACTERS = 2**19
MAX_YAML_VALUES = 100_000
"""How many values a YAML text may hold, each alias counted as what it stands for."""

_OPEN_ALREADY = re.compile(r"/dev/(stdin|fd/\d+)")  # a pipe that a shell has opened for us: `<(...)`


def read_bytes(path: Path, cure: str, limit: int | None = MAX_BYTES) -> bytes:
    """The content of a file.

    Args:
        path: of a regular file (or a pipe the shell has opened); a folder, device or named pipe is refused,
            because it has no end or nobody writes to it.
        cure: what to do about a file that cannot be read; ends the message.
        limit: the most bytes that are read; None for no limit.

    Raises:
        UserError: it is missing, no file, too long, or cannot be read.
    """
    try:
        kind = path.stat().st_mode
        if stat.S_ISDIR(kind):
            raise UserError(f"{path} is a folder, not a file; {cure}")
        if not stat.S_ISREG(kind) and not _OPEN_ALREADY.fullmatch(str(path)):
            raise UserError(f"{path} is no regular file; {cure}")
        with path.open("rb") as file:
            content = file.read() if limit is None else file.read(limit + 1)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}; {cure}") from None
    except ValueError as error:  # a NUL in the name
        raise UserError(f"{str(path)!r} cannot be read: {error}; {cure}") from None
    if limit is not None and len(content) > limit:
        raise UserError(f"{path} is longer than {limit:,} bytes, too long for what it should be; {cure}")
    return content


def read_text(path: Path, cure: str, limit: int | None = MAX_BYTES) -> str:
    """The content of a UTF-8 text file, without a byte order mark; arguments and errors as `read_bytes`."""
    content = read_bytes(path, cure, limit).removeprefix(codecs.BOM_UTF8)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} cannot be read: it is not a UTF-8 text (byte {error.start}: {error.reason}); {cure}"
        ) from None


# -- JSON ----------------------------------------------------------------------------------------------


def read_json(path: Path, cure: str, limit: int | None = MAX_BYTES) -> Any:
    """What a JSON file holds; arguments and errors as `read_bytes` and `parse_json`."""
    return parse_json(read_text(path, cure, limit), str(path), cure)


def read_object(path: Path, cure: str, limit: int | None = MAX_BYTES) -> dict[str, Any]:
    """What a JSON file holds, which must be an object; arguments and errors as `read_json`."""
    value = read_json(path, cure, limit)
    if not isinstance(value, dict):
        raise UserError(f"{path} holds {_kind(value)}, not an object; {cure}")
    return value


def parse_json(text: str | bytes, where: str, cure: str) -> Any:
    """The value of a JSON text.

    Args:
        text: the text; bytes are UTF-8.
        where: what the text is, for the message.
        cure: as for `read_bytes`.

    Raises:
        UserError: it is no JSON, nested deeper than `MAX_DEPTH`, or holds half of a surrogate pair, which no
            file could hold again.
    """
    try:
        value = json.loads(text)
        if _may_be_deep(text):
            _check_depth(value)
        if re.search(rb"\\u[dD][89a-fA-F]" if isinstance(text, bytes) else r"\\u[dD][89a-fA-F]", text):  # type: ignore[arg-type]
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise UserError(f"{where} holds half of a surrogate pair; {cure}") from None
    except ValueError as error:  # broken JSON, broken UTF-8, or a number of thousands of digits
        raise UserError(f"{where} is not JSON ({first_line(error)}); {cure}") from None
    except RecursionError:
        raise UserError(f"{where} is nested too deep; {cure}") from None
    return value


Model = TypeVar("Model", bound=BaseModel)


def read_record(path: Path, kind: type[Model], cure: str) -> Model:
    """A JSON file as a record of this package.

    Raises:
        UserError: it cannot be read, or is no such record; names the field.
    """
    text = read_text(path, cure)
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise UserError(
            f"{path} is not of this version ({field + ': ' if field else ''}{first['msg']}); {cure}"
        ) from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not of this version ({first_line(error)}); {cure}") from None


def refuse_later(path: Path, schema: Any, known: int) -> None:
    """Refuse a record that a later version wrote: it may mean something else by the same names.

    Raises:
        UserError: its `schema_version` is above the one that is known here.
    """
    if isinstance(schema, int) and schema > known:
        raise UserError(
            f"{path} is of schema {schema}, and this version of cl-forget reads up to {known}: update it."
        )


def _may_be_deep(text: str | bytes) -> bool:
    if isinstance(text, str):
        return text.count("[") + text.count("{") > MAX_DEPTH
    return text.count(b"[") + text.count(b"{") > MAX_DEPTH


def _check_depth(value: Any) -> None:
    """Raise RecursionError where `value` is nested deeper than `MAX_DEPTH`."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [inner for item in level for inner in _inside(item)]
        if not level:
            return
    raise RecursionError


def _inside(value: Any) -> Iterator[Any]:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return (item for item in inner if isinstance(item, (dict, list)))


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", type(None): "null", bool: "true or false"}
    return names.get(type(value), "a number")


# -- YAML ----------------------------------------------------------------------------------------------


class Yaml(NamedTuple):
    """A YAML text read.

    Attributes:
        value: what it holds.
        lines: path into it (keys and positions) -> the line it stands on, from 1.
    """

    value: Any
    lines: dict[tuple[Any, ...], int]


_REPLACED = ("timestamp", "value", "int", "float")


class _Loader(yaml.SafeLoader):
    """YAML with the types of JSON.

    A key is the text that is written there (`no:`, `1:` and `2024-01-01:` are words), dates are text, 1e-4 is a
    number, and 1:30 and 007 are not.
    """

    yaml_implicit_resolvers = {  # noqa: RUF012  read by PyYAML, which copies it
        first: [(tag, pattern) for tag, pattern in resolvers if tag.rpartition(":")[2] not in _REPLACED]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }  # fmt: skip

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        """Keys as they are written."""
        self.flatten_mapping(node)
        return {key.value: self.construct_object(value, deep=deep) for key, value in node.value}


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"(?:[-+]?(?:(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?|[0-9][0-9_]*[eE][-+]?[0-9]+"
        r"|\.(?:inf|Inf|INF))|\.(?:nan|NaN|NAN))$"
    ),
    list("-+0123456789."),
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int",
    re.compile(r"[-+]?(?:0b[01][01_]*|0o[0-7][0-7_]*|0x[0-9a-fA-F][0-9a-fA-F_]*|0|[1-9][0-9_]{0,400})$"),
    list("-+0123456789"),
)
_TAGS = {
    f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str", "seq", "map", "merge")
}


def parse_yaml(text: str, where: str, cure: str) -> Yaml:
    """The value of a YAML text.

    Args:
        text: the text.
        where: what it is, for the message; the line is added.
        cure: what to do about it; ends the message.

    Raises:
        UserError: it is no YAML; a key is given twice or is no plain word; it has a type that JSON has not; it
            refers to itself; it is too long, too deep, or unfolds to too many values; it holds half of a surrogate
            pair.
    """
    if len(text) > MAX_YAML_CHARACTERS:
        raise UserError(f"{where} is longer than {MAX_YAML_CHARACTERS:,} characters; {cure}")
    loader: Any = None
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        if root is None:
            return Yaml(None, {})
        _Nodes(where, cure).check(root)
        lines: dict[tuple[Any, ...], int] = {}
        _note_lines(root, (), lines)
        return Yaml(_unshared(loader.construct_document(root)), lines)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or first_line(error)
        raise UserError(f"{where}{line}: it is not YAML: {problem}; {cure}") from None
    except RecursionError:
        raise UserError(f"{where} is nested too deep; {cure}") from None
    except (ValueError, OverflowError) as error:  # an explicit tag on what is no such thing: `!!int x`
        raise UserError(f"{where}: it is not YAML: {first_line(error)}; {cure}") from None
    finally:
        if loader is not None:
            loader.dispose()


def _unshared(value: Any) -> Any:
    """A copy in which what two aliases stand for is two values: changing one leaves the other."""
    if isinstance(value, dict):
        return {key: _unshared(inner) for key, inner in value.items()}
    return [_unshared(inner) for inner in value] if isinstance(value, list) else value


class _Nodes:
    """Checks YAML nodes before anything is made of them.

    Args:
        where, cure: as for `parse_yaml`.
    """

    def __init__(self, where: str, cure: str) -> None:
        self._where, self._cure = where, cure
        self._sizes: dict[int, int] = {}  # how many values a node unfolds to; an alias is the same node again
        self._open: set[int] = set()

    def check(self, node: Any, depth: int = 0) -> int:
        """How many values the node unfolds to."""
        if id(node) in self._open:
            self._refuse(node, "it refers to itself")
        if depth > MAX_DEPTH:
            self._refuse(node, "it is nested too deep")
        if id(node) not in self._sizes:
            self._open.add(id(node))
            self._sizes[id(node)] = 1 + sum(self.check(inner, depth + 1) for inner in self._children(node))
            self._open.discard(id(node))
        if self._sizes[id(node)] > MAX_YAML_VALUES:
            self._refuse(node, f"its aliases unfold to more than {MAX_YAML_VALUES:,} values")
        return self._sizes[id(node)]

    def _children(self, node: Any) -> list[Any]:
        if node.tag not in _TAGS:
            self._refuse(node, f"the type {node.tag.replace('tag:yaml.org,2002:', '!!')} is not known here")
        if isinstance(node, yaml.SequenceNode):
            return list(node.value)
        if not isinstance(node, yaml.MappingNode):
            self._check_text(node)
            return []
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._refuse(key, "a name before a colon must be a plain word")
            self._check_text(key)
            if key.value in seen:
                self._refuse(key, f"'{key.value}' is given twice; keep one", "")
            seen.add(key.value)
        return [value for _, value in node.value]

    def _check_text(self, node: Any) -> None:
        if not node.value.isascii() and any("\ud800" <= character <= "\udfff" for character in node.value):
            self._refuse(node, "it holds half of a surrogate pair, which no file could hold again")

    def _refuse(self, node: Any, what: str, cure: str | None = None) -> None:
        end = f"; {self._cure}" if cure is None else "."
        raise UserError(f"{self._where}, line {node.start_mark.line + 1}: {what}{end}")


def _note_lines(node: Any, where: tuple[Any, ...], lines: dict[tuple[Any, ...], int]) -> None:
    lines[where] = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            _note_lines(value, (*where, key.value), lines)
            lines[(*where, key.value)] = key.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _note_lines(value, (*where, index), lines)
