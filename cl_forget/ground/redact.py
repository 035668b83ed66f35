"""Nothing secret is written: what leaves the process goes through `redact`.

Applied at the boundary: to the configuration and the command before they enter `config.yaml`, `result.json`,
`environment.json`, W&B or a report, to log lines, error messages and tracebacks. What a token looks like is
detect-secrets' knowledge; what is written beside it here is what that package leaves out, and the places where a
secret has no form of its own: fields, options, addresses, the environment.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, TypeVar
from urllib.parse import quote

MARK = "***"
"""What stands in place of a secret."""

Value = TypeVar("Value")


def redact(value: Value) -> Value:
    """The same value with every secret replaced by `MARK`; containers are copied, never changed.

    A secret is: the value of an environment variable whose name says so (`..._KEY`, `..._TOKEN`, `..._PASS`),
    wherever it appears; the value of a field, an option or a part of an address whose name says so (`token`,
    `--api-key`, `?sig=`); text in the format of a well-known kind of key; user and password in an address; what
    follows `Bearer`; a private key.
    """
    return _redact(value, _environment())  # type: ignore[no-any-return]


def _redact(value: Any, known: tuple[str, ...]) -> Any:
    if isinstance(value, dict):
        named = value.get("name", value.get("key"))  # {"name": "API_TOKEN", "value": ...}
        if "value" in value and isinstance(named, str) and is_secret(named):
            value = {**value, "value": _hide_all(value["value"], named)}
        return {
            _redact(key, known): _hide_all(item, str(key))
            if _holds_secret(str(key), item)
            else _redact(item, known)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return _redact_items(value, known)
    return _redact_text(value, known) if isinstance(value, str) else value


def _holds_secret(name: str, value: Any) -> bool:
    """Whether what stands under a name is to be hidden, whatever it is.

    Names that people give, such as those of arms ("FLOW by token"), are phrases, or stand over whole sections;
    those hold secrets in fields of their own, if any.
    """
    if not is_secret(name):
        return False
    if isinstance(value, dict | list | tuple) and re.search(r"\s", name):
        return False
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    section = any(isinstance(own, dict | list | tuple) for own in inside)
    return not (section and _words(name)[-1].endswith("token"))


def _redact_items(items: Any, known: tuple[str, ...]) -> Any:
    """A list item by item; `--token` hides the item behind it."""
    found: list[Any] = []
    for item in items:
        named = bool(found) and isinstance(item, str) and _names_secret(found[-1])
        found.append(MARK if named else _redact(item, known))
    return type(items)(found) if type(items) in (list, tuple) else found


def _names_secret(option: Any) -> bool:
    return isinstance(option, str) and option.startswith("--") and "=" not in option and is_secret(option[2:])


def _hide_all(value: Any, name: str) -> Any:
    """What stands under a secret name, whatever its shape; null, false and empty text say that there is none."""
    if isinstance(value, dict):
        return {key: _hide_all(item, name) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_hide_all(item, name) for item in value]
    if isinstance(value, bool) or not value:
        return value
    if isinstance(value, int | float):  # a password of digits; `max_token: 64` is a number of tokens
        return value if _words(name)[-1].endswith("token") else MARK
    return MARK


# -- names ---------------------------------------------------------------------------------------------------
_SECRET_ENDS = (
    "token", "secret", "secrets", "password", "passwords", "passwd", "passphrase", "passcode", "apikey", "apikeys",
    "credential", "credentials", "authorization", "secretkey", "accesskey", "privatekey", "pwd", "cookie", "cookies",
    "jwt", "bearer",
)  # fmt: skip
_KEYS_OF = frozenset({
    "api", "access", "private", "secret", "ssh", "account", "auth", "signing", "encryption", "storage",
    "master", "deploy", "service", "subscription", "license", "hub", "wandb", "hf", "openai", "aws", "gcp", "azure",
})  # fmt: skip
"""What stands before `key` or `keys` where it is a secret one; a key of a mapping or of a data set is none."""
_TOKENS_OF_TEXT = frozenset({
    "pad", "eos", "bos", "unk", "mask", "sep", "cls", "image", "audio", "video", "start", "end", "stop",
    "first", "last", "next", "special", "separator", "newline", "prefix", "suffix", "middle", "answer",
    "prompt", "response", "think", "by", "every", "each", "max", "min", "num", "per", "top", "added", "boi",
    "eoi", "sos",
})  # fmt: skip
"""What stands before `token` where it is one of a tokenizer."""
_PASSES = frozenset({
    "forward", "backward", "one", "single", "first", "second", "two", "each", "per", "extra",
})  # fmt: skip
_IN_ADDRESSES = frozenset({
    "sig", "signature", "key", "code", "auth", "pass", "policy", "awsaccesskeyid", "x_amz_signature",
    "x_amz_credential", "x_amz_security_token", "x_goog_signature", "x_goog_credential",
})  # fmt: skip
"""What is secret in the query of an address, besides what is secret everywhere."""


@lru_cache(4096)
def is_secret(name: str) -> bool:
    """Whether a field, option or variable of this name holds a secret."""
    words = _words(name)
    last, before = words[-1], words[-2] if len(words) > 1 else ""
    if last == "token" and before in _TOKENS_OF_TEXT:
        return False
    if last in ("key", "keys") or (last == "id" and before == "key"):
        owner = before if last != "id" else (words[-3] if len(words) > 2 else "")
        return owner in _KEYS_OF
    if last == "pass":
        return before not in _PASSES
    return last.endswith(_SECRET_ENDS)


def _words(name: str) -> list[str]:
    """`accessToken`, `X-Amz-Signature`, `stream.hub.token` in lower case, word by word."""
    parts = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    return re.split(r"[^a-z0-9]+", parts.strip("-_. ")) or [""]


# -- text ----------------------------------------------------------------------------------------------------
_PRIVATE = re.compile(
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [^-\n]*-----|\Z)", re.DOTALL
)
_FORMATS = re.compile(
    r"\b(hf_[A-Za-z0-9]{16,}|sk-(?=[\w-]*\d)[\w-]{16,}|gh[pousr]_[A-Za-z0-9]{16,}|github_pat_\w{16,}|glpat-[\w-]{16,}"
    r"|xox[abceoprs]-[\w-]{10,}|xapp-[\w-]{10,}|wandb_v1_[\w-]{16,}|A(?:KIA|SIA)[A-Z0-9]{16}|AIza[\w-]{30,}"
    r"|local-[0-9a-f]{40}|ya29\.[\w-]{20,}|npm_[A-Za-z0-9]{30,}|[rs]k_(?:live|test)_\w{16,}|dapi[0-9a-f]{32})"
)
"""What detect-secrets leaves out, or knows at one length only."""

_OF_A_VENDOR = re.compile(
    r"(?<![\w/.-])[A-Za-z][A-Za-z0-9]{0,9}(?:[_-][a-z]{2,5})?[_-]"
    r"(?!\w*[a-z]{7})(?=\w*[a-z])(?=\w*[A-Z])(?=[A-Za-z]*\d+[A-Za-z]+\d)[A-Za-z0-9]{24,}(?![\w-])"
)
"""A short word and a long draw of small and capital letters with digits among them, as most services issue keys.

No name that people give (`model-Qwen2ForCausalLM`) and no hash (small letters alone) is like that.
"""

_HOST = r"(?:localhost|[\w-]+(?:\.[\w-]+)+|\[[0-9a-fA-F:]+\]):\d{1,5}(?:[/?#\s\"']|$)"
_LOGIN = re.compile(rf"://(?!{_HOST})(?:[^\s/@:\"'<>]*:[^\s\"'<>]*|[^\s/?#@\"'<>]+)@")
"""User and password before a host: up to the last @, as a password may hold / and @; a host with a port is none."""
_QUERY = re.compile(r"(?P<before>[?&;#])(?P<name>[\w.%-]+)=(?P<value>[^&\s#\"'<>]+)")
_BEARER = re.compile(r"(?i)\b(bearer)\s+(?=[\w.~+/-]*\d|[\w.~+/-]{20})[\w.~+/-]{8,}=*")
_AUTHORIZATION = re.compile(
    r"(?i)\b((?:proxy-)?authorization\"?'?\s*[:=]\s*\"?'?(?:basic|bearer|token)?\s*)[^\s\"',;]+"
)
_NETRC = re.compile(r"(?i)(\blogin\s+\S+\s+(?:password|account)\s+)\S+")
_WEBHOOK = re.compile(r"(?i)(://[^\s\"'<>]*/(?:web)?hooks?/(?:[^\s\"'<>/]+/)*)[\w-]{16,}")
_COOKIE = re.compile(r"(?i)\b((?:set-)?cookie\"?'?\s*:\s*\"?'?)[^\r\n\"']+")
_OPTION = re.compile(r"(?P<option>(?<!\w)--(?P<name>[A-Za-z][\w.-]*)\s+)(?P<value>[^\s-]\S*)")
_ASSIGNED = re.compile(
    r"(?P<name>[\w.-]+)(?P<sign>[\"']?\s*[=:]\s*)(?P<value>\"[^\"]*\"|'[^']*'|[^\s,;}\]\"']+)"
)
_WHOLE = re.compile(r"(?s)(?P<name>[\w.-]+)=(?P<value>\S.*)")


@lru_cache(4096)
def _redact_text(text: str, known: tuple[str, ...]) -> str:
    for secret in known:
        text = text.replace(secret, MARK)
    if len(text) < 6:
        return text
    whole = _WHOLE.fullmatch(text)
    if whole and is_secret(whole["name"]) and " " not in text:  # an argument: all of it, commas too
        return f"{whole['name']}={MARK}"
    text = _OF_A_VENDOR.sub(MARK, _FORMATS.sub(MARK, _PRIVATE.sub(MARK, text)))
    for detector in _detectors() if len(text) >= 16 else ():
        for found in detector.analyze_string(text):
            text = re.sub(rf"{re.escape(found)}[\w+/=-]*", MARK, text)  # a token ends where its word does
    text = _QUERY.sub(_hide_query, _LOGIN.sub(f"://{MARK}@", text))
    text = _AUTHORIZATION.sub(rf"\1{MARK}", _BEARER.sub(rf"\1 {MARK}", text))
    for behind in (_NETRC, _WEBHOOK, _COOKIE):
        text = behind.sub(rf"\1{MARK}", text)
    return _ASSIGNED.sub(_hide_assigned, _OPTION.sub(_hide_option, text))


def _hide_query(match: re.Match[str]) -> str:
    if not is_secret(match["name"]) and "_".join(_words(match["name"])) not in _IN_ADDRESSES:
        return match[0]
    return f"{match['before']}{match['name']}={MARK}"


def _hide_option(match: re.Match[str]) -> str:
    return f"{match['option']}{MARK}" if is_secret(match["name"]) else match[0]


def _hide_assigned(match: re.Match[str]) -> str:
    value, mark = match["value"], MARK
    if value[0] in "\"'":
        mark = f"{value[0]}{MARK}{value[0]}"
    said = ":" in match["sign"] and value.isalpha() and match["name"].lower().endswith("token")
    # "unexpected token: name" is a sentence.
    if said or MARK in value or not is_secret(match["name"]):
        return match[0]
    return f"{match['name']}{match['sign']}{mark}"


@lru_cache(1)
def _detectors() -> tuple[Any, ...]:
    """Detect-secrets' detectors of tokens by their form.

    Left out are those that guess: by entropy (a hash is no secret here), by address, by keyword (`is_secret`), and
    Artifactory's, whose form is that of many names.
    """
    from detect_secrets.plugins import (
        aws,
        azure_storage_key,
        discord,
        github_token,
        gitlab_token,
        jwt,
        mailchimp,
        npm,
        openai,
        pypi_token,
        sendgrid,
        slack,
        square_oauth,
        stripe,
        telegram_token,
        twilio,
    )

    return (
        aws.AWSKeyDetector(),
        azure_storage_key.AzureStorageKeyDetector(),
        discord.DiscordBotTokenDetector(),
        github_token.GitHubTokenDetector(),
        gitlab_token.GitLabTokenDetector(),
        jwt.JwtTokenDetector(),
        mailchimp.MailchimpDetector(),
        npm.NpmDetector(),
        openai.OpenAIDetector(),
        pypi_token.PypiTokenDetector(),
        sendgrid.SendGridDetector(),
        slack.SlackDetector(),
        square_oauth.SquareOAuthDetector(),
        stripe.StripeDetector(),
        telegram_token.TelegramBotTokenDetector(),
        twilio.TwilioKeyDetector(),
    )


# -- the environment -----------------------------------------------------------------------------------------
_ENVIRONMENT = re.compile(
    r"(?i)(pass(word|wd|phrase|code)?|pwd|(^|_)(pat|keys?|auth)|apikey|token|secret|credentials?)(_|\d|$)"
)
_WORKING_FOLDERS = ("PWD", "OLDPWD")


def _environment() -> tuple[str, ...]:
    return _secrets_of(tuple(os.environ.items()))


@lru_cache(4)
def _secrets_of(variables: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    """Values of the environment that are secret, in each form; long ones first, as one may contain another."""
    found = {
        form
        for name, value in variables
        if _ENVIRONMENT.search(name) and name not in _WORKING_FOLDERS and _is_long_enough(value)
        # A path (SSL_CERT_FILE-like, SSH_AUTH_SOCK) is no secret, and would blot out half of a log.
        if not os.path.exists(value)
        for form in _forms(value)
    }
    return tuple(sorted(found, key=lambda form: (-len(form), form)))


def _is_long_enough(value: str) -> bool:
    """Eight signs, or six that are no word: what is shorter stands in ordinary text by chance."""
    return len(value) >= 8 or (len(value) >= 6 and not value.isalpha() and not value.isdigit())


def _forms(value: str) -> Iterator[str]:
    """As it is, as part of an address, inside quotes; of several lines each long one."""
    yield value
    yield quote(value, safe="")
    yield json.dumps(value)[1:-1]
    yield from (line.strip() for line in value.splitlines() if len(line.strip()) >= 16)
