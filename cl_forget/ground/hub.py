"""Whether a model or data hub can be reached."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit


def out_of_reach(error: Exception) -> bool:
    """Whether an error is about the hub and not about what was asked of it."""
    chain = f"{type(error).__name__} {error} {error.__cause__} {error.__context__}".lower()
    signs = (
        "connect",
        "resolve",
        "offline",
        "timed out",
        "timeout",
        "huggingface.co",
        "hub",
        "urlopen",
        "proxy",
    )
    return any(sign in chain for sign in signs)


@contextlib.contextmanager
def hub_offline_if_unreachable() -> Iterator[None]:
    """Use downloaded weights only where the hub cannot be reached, instead of a minute of retries."""
    from huggingface_hub import constants

    was = constants.HF_HUB_OFFLINE
    proxied = any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"))
    url = urlsplit(constants.ENDPOINT)
    try:
        if not proxied:
            with socket.create_connection((url.hostname or "", url.port or 443), timeout=5):
                pass
    except OSError:
        constants.HF_HUB_OFFLINE = True
    loggers = [logging.getLogger(), logging.getLogger("huggingface_hub")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:  # what goes wrong is said once, by us
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = was
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
