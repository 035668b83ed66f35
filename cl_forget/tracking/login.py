"""Whether somebody is logged in to Weights & Biases, found out without importing it or asking the network."""

from __future__ import annotations

import netrc
import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from cl_forget.config import Tracking

Mode = Literal["online", "offline", "off"]


def mode_of(track: Tracking) -> Mode:
    """Where a run is tracked: as the experiment says; else as $WANDB_MODE says; else online if logged in."""
    if track.wandb is not None:
        return track.wandb
    asked = os.environ.get("WANDB_MODE", "").lower()
    if asked in ("offline", "dryrun"):
        return "offline"
    if asked == "disabled" or os.environ.get("WANDB_DISABLED", "").lower() in ("1", "true", "yes"):
        return "off"
    return "online" if logged_in() else "off"


def logged_in() -> bool:
    """Whether there is a key for the server: in the environment, or from `wandb login` in the netrc file."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    places = [os.environ.get("NETRC"), "~/.netrc", "~/_netrc"]
    for file in (Path(place).expanduser() for place in places if place):
        try:
            if netrc.netrc(file).authenticators(urlsplit(server()).hostname or ""):
                return True
        except (OSError, netrc.NetrcParseError):
            continue
    return False


def server() -> str:
    """The address of the server in use."""
    return os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai"
