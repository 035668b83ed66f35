"""Joining a Ray cluster by its address, and learning at once that there is none."""

from __future__ import annotations

import socket
from typing import Any

from cl_forget.ground.errors import UserError

OTHERWISE = "leave --address out"
"""What a command of ours says to do where no cluster is wanted."""


def join(address: str, otherwise: str, **options: Any) -> None:
    """Connect this process to a cluster.

    Args:
        address: as `ray.init` takes it: "host:port", "ray://host:port", or a name without a port ("auto").
        otherwise: what to do where no cluster is wanted, for the message ("leave --address out").
        options: of `ray.init`.

    Raises:
        UserError: nobody is there, or does not let us in.
    """
    import ray

    check_answers(address, otherwise)
    try:
        ray.init(address=address, **options)
    except (ConnectionError, ValueError, RuntimeError, ray.exceptions.AuthenticationError) as error:
        raise UserError(
            f"no Ray cluster that lets us in at '{address}' ({str(error).splitlines()[0]}); start one with "
            f"`ray start --head`, or {otherwise}. If it runs, it may want its token: put what `ray get-auth-token` "
            "prints on its head into RAY_AUTH_TOKEN here, with RAY_AUTH_MODE=token."
        ) from None


def check_answers(address: str, otherwise: str) -> None:
    """A quick look at the port, before Ray takes a minute and more to find nobody.

    Args:
        address, otherwise: as for `join`.

    Raises:
        UserError: nobody is there.
    """
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError as error:
        raise UserError(
            f"no Ray cluster at '{address}' ({error.strerror or error}); start one with `ray start --head`, or "
            f"{otherwise}."
        ) from None
