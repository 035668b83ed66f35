"""Conversations as data sets hold them, OpenAI's and ShareGPT's: who speaks, what is said, and which turn answers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from cl_forget.streams._cells import as_text, is_list, is_missing, parsed
from cl_forget.streams.text import Message

ROLES = {
    **dict.fromkeys(("user", "human", "prompter", "instruction"), "user"),
    **dict.fromkeys(
        ("assistant", "gpt", "bot", "model", "ai", "chatgpt", "bing", "bard", "claude"), "assistant"
    ),
    **dict.fromkeys(("system", "developer"), "system"),  # OpenAI's newer name; templates know the older one
    **dict.fromkeys(
        ("tool", "observation", "function", "function_response", "ipython", "environment"), "tool"
    ),
    "function_call": "assistant",
}
MUST_BE = "must be a list of turns that ends with the assistant's"


class CannotRead(Exception):
    """A row that cannot become a sample: why, in words that follow "row 3: "."""


def is_conversation(value: Any) -> bool:
    """Whether a value is a list of turns, each with somebody who speaks; JSON in a cell counts."""
    value = _as_list(value)
    return (
        is_list(value)
        and bool(value)
        and all(isinstance(turn, Mapping) and ("role" in turn or "from" in turn) for turn in value)
    )


def turns_of(column: str, value: Any) -> list[Message]:
    """The turns of a conversation with the roles system, user, assistant and tool, and contents that are texts.

    Args:
        column: where it stands, for messages.
        value: a list of {"role", "content"} or {"from", "value"}, also as JSON, or as one record of two lists.

    Raises:
        CannotRead: not such a list, a role that nobody knows, or content that is not text.
    """
    value = _as_list(value)
    if not is_list(value) or not all(isinstance(turn, Mapping) for turn in value):
        raise CannotRead(f"{column} {MUST_BE}")
    return [_turn(column, turn) for turn in value]


def parted(column: str, turns: list[Message], found: Counter[str]) -> tuple[list[Message], str]:
    """The turns before the last answer, and that answer.

    Args:
        column: where the conversation stands, for messages.
        turns: as `turns_of` gives them.
        found: counts what was left out or noticed, in words.

    Raises:
        CannotRead: no answer, an answer that is not text, or nothing before it.
    """
    turns = list(turns)
    spoken = len(turns)
    while turns and (turns[-1]["role"] != "assistant" or turns[-1].get("weight") == 0):
        turns.pop()
    if len(turns) < 2:
        raise CannotRead(f"{column} {MUST_BE}")
    if len(turns) < spoken:
        found["conversations go on after the last answer; what follows it is left out"] += 1
    answer = turns.pop()
    if not answer["content"].strip() and answer.get("tool_calls"):
        raise CannotRead(f"the last answer of {column} is a tool call; end it with the assistant's text")
    opening = [turn for turn in turns if turn["role"] == "system"]
    asked = turns[len(opening) :] if turns[: len(opening)] == opening else turns
    greetings = next((i for i, turn in enumerate(asked) if turn["role"] != "assistant"), len(asked))
    if greetings and asked is not turns and greetings < len(asked):
        found["conversations begin with the assistant; these turns are left out"] += 1
        turns = [*opening, *asked[greetings:]]
    if any(turn["role"] == "assistant" for turn in turns):
        found["conversations have several answers; the last one is the response, the others are given"] += 1
    if answer.get("reasoning"):
        found["answers come with reasoning in a field of its own, which is not used"] += 1
    given = [{key: own for key, own in turn.items() if key not in ("weight", "reasoning")} for turn in turns]
    return list(given), str(answer["content"])


def with_tools(turns: list[Message], tools: Any) -> list[Message]:
    """The turns with the definitions of tools, which stand beside a conversation, in the first of them.

    Raises:
        CannotRead: something else than a list of definitions.
    """
    tools = parsed(tools)
    if is_missing(tools) or tools in ("", []):
        return turns
    names = [_function(tool).get("name") for tool in tools] if is_list(tools) else [None]
    if not all(isinstance(name, str) for name in names):
        raise CannotRead("'tools' must be a list of definitions of functions, each with its name")
    return [{**turns[0], "tools": list(tools)}, *turns[1:]]


def _function(tool: Any) -> Mapping[str, Any]:
    function = tool.get("function", tool) if isinstance(tool, Mapping) else {}
    return function if isinstance(function, Mapping) else {}


def human_and_assistant(text: str) -> list[Message] | None:
    """The turns of a text like "Human: ... Assistant: ..." (as in HH-RLHF); None where it is not one."""
    parts = re.split(r"(?:^|\n\n)(Human|Assistant): ?", text)
    if len(parts) < 5 or parts[0].strip():
        return None
    names = {"Human": "user", "Assistant": "assistant"}
    return [
        {"role": names[who], "content": said.strip()}
        for who, said in zip(parts[1::2], parts[2::2], strict=True)
    ]


def _as_list(value: Any) -> Any:
    value = parsed(value)
    if isinstance(value, Mapping) and all(is_list(own) for own in value.values()):
        # A list of records that is stored as a record of lists.
        return [dict(zip(value, own, strict=False)) for own in zip(*value.values(), strict=False)]
    return value


def _turn(column: str, turn: Mapping[str, Any]) -> dict[str, Any]:
    # A column of a table has every key that some turn has: what is null is not there.
    turn = {key: own for key, own in turn.items() if own is not None}
    role = turn.get("role", turn.get("from"))
    if not isinstance(role, str) or role.lower() not in ROLES:
        said = f"has the role {role!r}" if role else "has no role"
        raise CannotRead(f"a turn of {column} {said}; roles are system, user, assistant and tool")
    content = next((turn[key] for key in ("content", "value", "text", "parts") if key in turn), None)
    own: dict[str, Any] = {"role": ROLES[role.lower()], "content": ""}
    calls = turn.get("tool_calls") or (
        [{"function": turn["function_call"]}] if turn.get("function_call") else []
    )
    if role.lower() == "function_call":
        call = parsed(content)
        calls, content = ([{"function": call}], None) if isinstance(call, Mapping) else ([], content)
    if calls:
        own["tool_calls"] = [_call(column, call) for call in calls]
    own["content"] = _content(column, content, own)
    own |= {key: turn[key] for key in ("name", "tool_call_id", "weight") if not is_missing(turn.get(key))}
    if turn.get("reasoning_content") or turn.get("thinking") or turn.get("reasoning"):
        own["reasoning"] = True
    return own


def _content(column: str, content: Any, turn: Mapping[str, Any]) -> str:
    if is_missing(content):
        if turn["role"] == "assistant":
            return ""  # with tool calls it is null; without them it is an empty answer
        raise CannotRead(f"a {turn['role']} turn of {column} has no content")
    if isinstance(content, Mapping):
        content = content.get("parts", [content])
    if is_list(content):
        return "\n".join(_part(column, part) for part in content)
    text = as_text(content)
    if text is None:
        raise CannotRead(f"a turn of {column} holds {_short(content)}, not a text")
    return text


def _part(column: str, part: Any) -> str:
    """The text of one part of a content: a text, or {"type": "text", "text": ...}."""
    if isinstance(part, str):
        return part
    kind = part.get("type") if isinstance(part, Mapping) else None
    if isinstance(part, Mapping) and kind in (None, "text", "input_text", "output_text", "refusal"):
        text = part.get("text", part.get("refusal", part.get("content")))
        if isinstance(text, str):
            return text
    raise CannotRead(
        f"a turn of {column} holds a part of the kind {kind or _short(part)}; only texts are read"
    )


def _call(column: str, call: Any) -> dict[str, Any]:
    """A tool call as chat templates want it: its arguments as an object, which OpenAI writes as text."""
    function = _function(call)
    if not isinstance(function.get("name"), str):
        raise CannotRead(f"a turn of {column} has a tool call without the name of a function")
    arguments = parsed(function.get("arguments", {}))
    own = {"type": "function", "function": {"name": function["name"], "arguments": arguments}}
    return {"id": call["id"], **own} if isinstance(call.get("id"), str) else own


def _short(value: Any) -> str:
    said = repr(value)
    return said if len(said) < 60 else said[:57] + "..."
