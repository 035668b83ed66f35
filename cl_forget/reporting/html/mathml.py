r"""Formulas of measures as MathML, which browsers draw without a library.

They are written in the part of TeX's notation that measures need: letters, numbers and signs, groups in braces,
`_` and `^`, `\frac{}{}`, `\sqrt{}`, `\text{}`, and the names in `WORDS` and `SIGNS`.
"""

from __future__ import annotations

import re
from html import escape

SIGNS = {
    "theta": "θ", "Delta": "Δ", "alpha": "α", "delta": "δ", "sum": "∑", "le": "≤", "ge": "≥", "lt": "<", "cdot": "·",
    "Vert": "‖", "vert": "|", "to": "→", "times": "×", "in": "∈", "infty": "∞", "pm": "±", "ldots": "…", "top": "⊤",
}  # fmt: skip
WORDS = ("max", "min", "ln", "exp")

_PART = re.compile(r"\\([A-Za-z]+)|([A-Za-z])|(\d+(?:\.\d+)?)|([{}_^])|(\s+)|(.)", re.DOTALL)
_WIDE = {"∑", "max", "min"}
"""What has its bounds above and below."""
_FENCES = frozenset("()|‖")


def mathml(formula: str, block: bool = True) -> str:
    """A formula as a `math` element.

    Args:
        formula: in the notation of this module.
        block: whether it stands on a line of its own.

    Raises:
        ValueError: it is not in that notation.
    """
    tokens = _tokens(formula)
    body = _row(tokens)
    if tokens:
        raise ValueError(f"'{formula}': a brace too many")
    return f'<math display="{"block" if block else "inline"}">{body}</math>'


def _tokens(formula: str) -> list[str]:
    """The parts from last to first, so that the next one is popped off the end."""
    return [found[0] for found in _PART.finditer(formula) if not found[5]][::-1]


def _row(tokens: list[str]) -> str:
    """Everything up to the closing brace or the end, as one element."""
    parts = []
    while tokens and tokens[-1] != "}":
        parts.append(_scripted(tokens))
    return parts[0] if len(parts) == 1 else f"<mrow>{''.join(parts)}</mrow>"


def _scripted(tokens: list[str]) -> str:
    """One element with what stands below and above it."""
    base, wide = _one(tokens)
    scripts: dict[str, str] = {}
    while tokens and tokens[-1] in ("_", "^"):
        mark = tokens.pop()
        if mark in scripts:
            raise ValueError(f"two of '{mark}' at one letter")
        scripts[mark] = _one(tokens)[0]
    low, high = scripts.get("_"), scripts.get("^")
    names = ("munder", "mover", "munderover") if wide else ("msub", "msup", "msubsup")
    if low and high:
        return f"<{names[2]}>{base}{low}{high}</{names[2]}>"
    if low or high:
        name = names[0] if low else names[1]
        return f"<{name}>{base}{low or high}</{name}>"
    return base


def _one(tokens: list[str]) -> tuple[str, bool]:
    """One letter, number, sign or group; and whether its bounds stand above and below it."""
    if not tokens:
        raise ValueError("the formula ends where something has to follow")
    token = tokens.pop()
    if token == "{":
        return _group(tokens), False
    if token.startswith("\\"):
        return _command(token[1:], tokens)
    if token[0].isdigit():
        return f"<mn>{token}</mn>", False
    if token.isalpha():
        return f"<mi>{token}</mi>", False
    # A true minus is as wide as a plus.
    return _sign(token.replace("-", "−")), False


def _group(tokens: list[str]) -> str:
    body = _row(tokens)
    if not tokens:
        raise ValueError("a brace is missing")
    tokens.pop()
    return body


def _argument(tokens: list[str]) -> str:
    if not tokens or tokens.pop() != "{":
        raise ValueError("a group in braces is missing")
    return _group(tokens)


def _words(tokens: list[str]) -> str:
    if not tokens or tokens.pop() != "{" or "}" not in tokens:
        raise ValueError("a group in braces is missing")
    words = ""
    while (token := tokens.pop()) != "}":
        words += escape(token)
    return words


def _command(name: str, tokens: list[str]) -> tuple[str, bool]:
    if name == "frac":
        above = _argument(tokens)
        return f"<mfrac>{above}{_argument(tokens)}</mfrac>", False
    if name == "sqrt":
        return f"<msqrt>{_argument(tokens)}</msqrt>", False
    if name == "text":
        return f"<mtext>{_words(tokens)}</mtext>", False
    if name in WORDS:
        return f"<mo>{name}</mo>", name in _WIDE
    if name not in SIGNS:
        raise ValueError(f"there is no '\\{name}' here")
    sign = SIGNS[name]
    return f"<mi>{sign}</mi>" if sign.isalpha() else _sign(sign), sign in _WIDE


def _sign(sign: str) -> str:
    # A fence would grow to the height of everything beside it.
    still = ' stretchy="false"' if sign in _FENCES else ""
    return f"<mo{still}>{escape(sign)}</mo>"
