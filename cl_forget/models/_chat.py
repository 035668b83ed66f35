"""A tokenizer's chat template: what it puts before an answer, what it ends it with, and what it refuses.

What stands before the answer belongs to the prompt, whatever the template calls it: the header of the turn, and the
empty `<think></think>` of models that think. The target is the answer and the token that ends its turn.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from cl_forget.ground.errors import UserError
from cl_forget.ground.registry import closest
from cl_forget.models._quiet import tokenized
from cl_forget.streams.text import Prompt

MARK = "ANSWERq7x"
"""Stands where an answer will; no template and no data hold it."""

TODAY = datetime.datetime(2024, 7, 26)
"""The date that templates are told which ask for today's: prompts must not change from day to day."""

_OURS = frozenset(
    {
        "conversation",
        "messages",
        "chat_template",
        "tokenize",
        "add_generation_prompt",
        "continue_final_message",
    }
    | {"return_dict", "return_tensors", "return_assistant_tokens_mask", "padding", "truncation", "max_length"}
    | {"tokenizer_kwargs"}
)


class ChatTemplate:
    """Prompts and responses as a chat template renders them.

    Args:
        tokenizer: one of transformers.
        arguments: what else its template is given.

    Attributes:
        end: the special token that ends an answer, None where the template has none.
        dated: whether the template asks for today's date, and is told `TODAY`.
        before: what the template puts between its generation prompt and an answer.
        problem: why no answer can be cut out of what it renders; None where it can.

    Raises:
        UserError: arguments that the template does not know, or that are not for users to give.
    """

    def __init__(self, tokenizer: Any, arguments: Mapping[str, Any]) -> None:
        self._tokenizer = tokenizer
        self._source = _source(tokenizer)
        self._check(arguments)
        self._arguments = dict(arguments)
        self.dated = "strftime_now" in self._source and "date_string" not in arguments
        if self.dated:
            self._arguments["chat_template"] = _with_fixed_date(self._source)
        self._special = _special_tokens(tokenizer)
        self.end: str | None = None
        self.before = ""
        self.problem: str | None = None
        self._probed = False
        try:
            asked = [{"role": "user", "content": "a"}]
            head, rest = self._frame(asked)
            self.before = head[len(self._render(asked, add_generation_prompt=True)) :]
            self.end = self._ended(rest)[1]
            self._check_tokens(head.rstrip(" "), head[len(head.rstrip(" ")) :] + "b" + rest)
            self._probed = True
        except UserError as error:
            self.problem = str(error)

    def prompt(self, prompt: Prompt, reasoning: bool = False) -> str:
        """What the model is given to answer.

        Args:
            prompt: a text, which becomes the user's turn, or turns.
            reasoning: whether answers hold their own reasoning, so that the template's empty one is left out.

        Raises:
            UserError: the template refuses the turns, or leaves one of them out.
        """
        turns = self._turns(prompt)
        head = self._render(turns, add_generation_prompt=True) if reasoning else self._frame(turns)[0]
        return head.rstrip(" ")

    def parts(self, prompt: Prompt, response: str, reasoning: bool = False) -> tuple[str, str]:
        """What stands before an answer, and the answer with the token that ends its turn; as `prompt`.

        A space between the two belongs to the answer, whose first token holds it.
        """
        turns = self._turns(prompt)
        head, rest = self._frame(turns)
        whole = self._render([*turns, {"role": "assistant", "content": response}])
        if reasoning:
            head = self._render(turns, add_generation_prompt=True)
        answer = whole[len(head) : len(whole) - len(rest)]
        kept = answer.strip() == response.strip()
        if reasoning:  # the template may set it apart with lines of its own
            kept = "".join(response.split()) in "".join(answer.split())
        if not kept or not whole.startswith(head) or not whole.endswith(rest):
            raise UserError(
                f"the chat template changes the answer {_short(response)!r}; take out what it reads as its own "
                "(such as <think>), or set text.chat=false."
            )
        asked = head.rstrip(" ")
        return asked, head[len(asked) :] + answer + self._ended(rest)[0]

    # -- rendering -------------------------------------------------------------------------------------
    def _turns(self, prompt: Prompt) -> list[dict[str, Any]]:
        if self.problem is not None:
            raise UserError(self.problem)
        if isinstance(prompt, str):
            return [{"role": "user", "content": prompt}]
        return [dict(turn) for turn in prompt]

    def _frame(self, turns: list[dict[str, Any]]) -> tuple[str, str]:
        """What stands before an answer to `turns`, and what stands after it."""
        whole = self._render([*turns, {"role": "assistant", "content": MARK}])
        if self._probed and len(turns) == 1:  # one user's turn begins as the one that was tried
            start = ""
        else:
            start = self._render(turns, add_generation_prompt=True)
        if not whole.startswith(start):
            raise UserError(
                f"the chat template begins an answer with {_short(start[-30:])!r} when asked for one, but not where "
                "the answer is given, so that training would not fit its use; set text.template_arguments "
                "(such as {enable_thinking: false}, where it knows that), or text.chat=false."
            )
        head, marked, rest = whole.partition(MARK)
        if not marked or len(head) < len(start):
            raise UserError("the chat template does not show the assistant's answer; set text.chat=false.")
        self._check_turns(turns, head)
        return head, rest

    def _render(self, turns: list[dict[str, Any]], **more: Any) -> str:
        try:
            return self._apply(turns, **more)
        except Exception as error:  # whatever a template raises, and what Jinja and Python raise in one
            raise UserError(self._refusal(turns, more, error)) from error

    def _apply(self, turns: list[dict[str, Any]], **more: Any) -> str:
        more = {**self._arguments, **more}
        if tools := _tools(turns):
            first = {key: own for key, own in turns[0].items() if key != "tools"}
            turns, more["tools"] = [first, *turns[1:]], tools
        return str(self._tokenizer.apply_chat_template(turns, tokenize=False, **more))

    def _refusal(self, turns: list[dict[str, Any]], more: Mapping[str, Any], error: Exception) -> str:
        """Why the template does not take the turns, found out by leaving out what it may not know."""
        said = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        roles = [turn["role"] for turn in turns]
        without = [turn for turn in turns if turn["role"] != "system"]
        if "system" in roles and without and self._takes(without, more):
            return (
                f"the chat template refuses the system role ({said}); put the system text at the beginning of the "
                "first user turn, or leave it out."
            )
        if any(one == two for one, two in pairwise(roles)) and self._takes(_merged(turns), more):
            return (
                f"the chat template refuses two turns of one role in a row ({said}); user and assistant must "
                "alternate, so merge such turns."
            )
        return (
            f"the chat template refuses this conversation of {', '.join(roles)} ({said}); give turns that it knows, "
            "or the prompt as text."
        )

    def _takes(self, turns: list[dict[str, Any]], more: Mapping[str, Any]) -> bool:
        try:
            self._apply(turns, **more)
        except Exception:
            return False
        return True

    # -- checks ----------------------------------------------------------------------------------------
    def _check(self, arguments: Mapping[str, Any]) -> None:
        known = sorted(set(re.findall(r"[A-Za-z_]\w*", self._source)))
        for name in arguments:
            if name in _OURS:
                raise UserError(f"text.template_arguments: '{name}' is not for you to give; leave it out.")
            if name not in known:
                raise UserError(
                    f"text.template_arguments: the chat template has no '{name}'.{closest(name, known)} It would be "
                    "ignored; leave it out."
                )

    def _check_turns(self, turns: list[dict[str, Any]], rendered: str) -> None:
        """No turn is dropped in silence: what was said, and what was called, stands in the text."""
        if not rendered.strip():
            raise UserError(f"the chat template shows nothing of the prompt; {_KNOWN}")
        definitions = [tool.get("function", tool) for tool in _tools(turns)]
        if any(str(own["name"]) not in rendered for own in definitions):
            raise UserError(f"the chat template leaves out the definitions of tools; {_KNOWN}")
        for turn in turns:
            content = str(turn.get("content") or "")
            if turn["role"] == "assistant":  # earlier reasoning is left out on purpose
                content = content.rpartition("</think>")[2]
            calls = [call["function"]["name"] for call in turn.get("tool_calls") or ()]
            if not _is_shown(content, rendered):
                raise UserError(f"the chat template leaves out the {turn['role']} turn; {_KNOWN}")
            if any(name not in rendered for name in calls):
                raise UserError(f"the chat template leaves out tool calls; {_KNOWN}")

    def _check_tokens(self, head: str, tail: str) -> None:
        """The prompt's tokens are the first tokens of the whole."""
        before, whole = tokenized(self._tokenizer, [head, head + tail], add_special_tokens=False)["input_ids"]
        if whole[: len(before)] != before:
            raise UserError(
                "the chat template runs the prompt's last token into the answer, so that no prompt can be told from "
                "its answer; set text.chat=false."
            )

    def _ended(self, rest: str) -> tuple[str, str | None]:
        """What follows an answer up to and with the token that ends its turn, and that token."""
        found = [(rest.find(token), token) for token in self._special if token in rest]
        if not found:
            return rest if rest.strip() else "", None
        place, token = min(found, key=lambda pair: (pair[0], -len(pair[1])))
        return rest[: place + len(token)], token


_KNOWN = "give turns of roles that it shows, or the prompt as text."


def _is_shown(content: str, rendered: str) -> bool:
    """Whether a content stands in a text, give or take a switch such as /no_think that the template reads."""
    words = [word for word in content.split() if len(word) > 4] or content.split()
    return content.strip() in rendered or sum(word in rendered for word in words) > len(words) / 2


def _tools(turns: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The definitions of tools, which the first turn carries."""
    return list(turns[0].get("tools") or ()) if turns else []


def _merged(turns: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    merged: list[dict[str, Any]] = []
    for turn in turns:
        if not merged or merged[-1]["role"] != turn["role"]:
            merged.append(turn)
    return merged


def _source(tokenizer: Any) -> str:
    template = tokenizer.chat_template
    return "\n".join(template.values()) if isinstance(template, Mapping) else str(template)


def _with_fixed_date(source: str) -> str:
    """The template with a `strftime_now` of its own, which shadows the one that looks at the clock."""
    forms = re.findall(r"""strftime_now\(\s*(?:"([^"]*)"|'([^']*)')""", source)
    days = {form: TODAY.strftime(form) for form in ("%d %b %Y", *(one or two for one, two in forms))}
    return f"{{%- macro strftime_now(form) %}}{{{{- {json.dumps(days)}[form] }}}}{{%- endmacro %}}{source}"


def _special_tokens(tokenizer: Any) -> list[str]:
    added = getattr(tokenizer, "added_tokens_decoder", {}).values()
    return list(dict.fromkeys([*tokenizer.all_special_tokens, *(str(t) for t in added if t.special)]))


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
