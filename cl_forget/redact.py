"""Nothing secret is written: what leaves the process goes through `redact`.

Applied at the boundary: to the configuration and the command before they enter `config.yaml`, `result.json`,
`environment.json`, W&B or a report, and to error messages.
"""

from __future__ import annotations

import os
import re
from typing import Any, TypeVar

MARK = "***"
"""What stands in place of a secret."""

_NAME = re.compile(
    r"(?i)(^|[_.-])((api|access|private|secret|ssh|account)[_-]?key|[a-z]*token|[a-z]*secret|passwd|password|credentials?)$"
)
_NO_SECRET = re.compile(r"(?i)(pad|eos|bos|unk|mask|sep|cls|image|start|end)[_-]?token$")
_ENVIRONMENT = re.compile(r"(?i)(key|token|secret|password|passwd|credential)")
_FORMATS = re.compile(
    r"\b(hf_[A-Za-z0-9]{16,}|sk-[\w-]{16,}|gh[pousr]_[A-Za-z0-9]{16,}|wandb_v1_[\w-]{16,}|AKIA[A-Z0-9]{16})"
)
_ASSIGNED = re.compile(r"(?P<name>[\w.-]+)(?P<sign>\s*[=:]\s*)(?P<value>[^\s,;}\]]+)")
_LOGIN = re.compile(r"://[^/@\s]+@")

Value = TypeVar("Value")


def redact(value: Value) -> Value:
    """The same value with every secret replaced by `MARK`; containers are copied, never changed.

    A secret is: the value of an environment variable whose name says so (`..._API_KEY`, `HF_TOKEN`), wherever it
    appears; the value of a field whose name says so (`token`, `api_key`, `password`); text in the format of a
    well-known kind of key; user and password in an address.
    """
    return _redact(value, _environment())  # type: ignore[no-any-return]


def _redact(value: Any, known: list[str]) -> Any:
    if isinstance(value, dict):
        return {
            key: MARK if item and isinstance(item, str) and _is_secret(str(key)) else _redact(item, known)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return type(value)(_redact(item, known) for item in value)
    return _redact_text(value, known) if isinstance(value, str) else value


def _redact_text(text: str, known: list[str]) -> str:
    for secret in known:
        text = text.replace(secret, MARK)
    text = _LOGIN.sub(f"://{MARK}@", _FORMATS.sub(MARK, text))
    return _ASSIGNED.sub(_hide_assigned, text)


def _hide_assigned(match: re.Match[str]) -> str:
    return f"{match['name']}{match['sign']}{MARK}" if _is_secret(match["name"]) else match[0]


def _is_secret(name: str) -> bool:
    return bool(_NAME.search(name)) and not _NO_SECRET.search(name)


def _environment() -> list[str]:
    """Values of the environment that are secret; long ones first, as one may contain another."""
    found = {value for name, value in os.environ.items() if _ENVIRONMENT.search(name) and len(value) >= 8}
    # A path (SSL_CERT_FILE-like, SSH_AUTH_SOCK) is no secret, and would blot out half of a log.
    return sorted((value for value in found if not os.path.exists(value)), key=len, reverse=True)
