"""Who is logged in to Weights & Biases, and whether its server answers: found out without importing wandb."""

from __future__ import annotations

import netrc
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from cl_forget.ground.errors import UserError

if TYPE_CHECKING:
    from cl_forget.config.tracking import Tracking

Mode = Literal["online", "offline", "off"]

_VIEWER = "query Viewer { viewer { id entity username teams { edges { node { name } } } } }"


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
    """Whether there are credentials for the server: in the environment, or from `wandb login`."""
    return bool(_api_key() or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"))


def server() -> str:
    """The address of the server in use."""
    return (os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai").rstrip("/")


def problem(timeout: float) -> str | None:
    """What keeps us from the server, in one line that names the cure; None if it answers and knows us.

    Args:
        timeout: the longest wait, seconds.
    """
    answer = _ask_who_we_are(timeout)
    return answer if isinstance(answer, str) else None


def entities(timeout: float) -> set[str] | str:
    """The entities we may write to, or the problem in one line."""
    viewer = _ask_who_we_are(timeout)
    if isinstance(viewer, str):
        return viewer
    teams = {edge["node"]["name"] for edge in (viewer.get("teams") or {}).get("edges", [])}
    return teams | {name for name in (viewer.get("entity"), viewer.get("username")) if name}


def project(where: str, timeout: float = 30.0) -> tuple[str, str]:
    """Entity and project of a W&B project that we may write to.

    Args:
        where: "entity/project".
        timeout: the longest wait for the server, seconds.

    Raises:
        UserError: it is no such name, nobody is logged in, the server does not answer, or the entity is not ours.
    """
    entity, slash, name = where.strip("/").partition("/")
    if not slash or not entity or not name or "/" in name:
        raise UserError(f"'{where}' is no W&B project: write entity/project.")
    known = entities(timeout)
    if isinstance(known, str):
        raise UserError(known)
    if entity not in known:
        raise UserError(f"'{entity}' is not one of your W&B entities ({', '.join(sorted(known))}).")
    return entity, name


def _ask_who_we_are(timeout: float) -> dict[str, Any] | str:
    import requests

    key, address = _api_key(), server()
    if key is None:
        return "nobody is logged in to W&B: run `wandb login`, or set WANDB_API_KEY."
    try:
        answer = requests.post(
            f"{address}/graphql", json={"query": _VIEWER}, auth=("api", key), timeout=timeout
        )
    except requests.Timeout:
        return f"{address} does not answer within {timeout:g} s: check the network, or WANDB_BASE_URL."
    except requests.RequestException:
        return f"{address} cannot be reached: check the network, or WANDB_BASE_URL."
    if answer.status_code in (401, 403):
        return f"{address} does not accept the API key: run `wandb login --relogin`, or mend WANDB_API_KEY."
    if answer.status_code != 200:
        return f"{address} answers with an error ({answer.status_code}): try again later."
    try:
        viewer = (answer.json().get("data") or {}).get("viewer")
    except ValueError:
        return f"{address} is no W&B server: mend WANDB_BASE_URL."
    return viewer or f"{address} does not know the API key: run `wandb login --relogin`."


def _api_key() -> str | None:
    """The key from the environment, or the one `wandb login` put into the netrc file for this server."""
    if key := os.environ.get("WANDB_API_KEY"):
        return key
    places = [os.environ.get("NETRC"), "~/.netrc", "~/_netrc"]
    for place in filter(None, places):
        try:
            file = Path(
                place
            ).expanduser()  # a RuntimeError where the user has no home, as in some containers
            found = netrc.netrc(file).authenticators(urlsplit(server()).hostname or "")
        except (OSError, RuntimeError, ValueError, netrc.NetrcParseError):
            continue
        if found:
            return found[2]
    return None
