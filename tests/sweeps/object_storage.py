"""A local S3 server, and what lies in it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import fsspec
import pytest

BUCKET = "sweeps"


@contextlib.contextmanager
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Meanwhile `s3://` is a server of this process, for everything that is started here; gives an address in it."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "nothing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "NO_PROXY": host,
    }.items():
        monkeypatch.setenv(name, value)
    fsspec.filesystem("s3").clear_instance_cache()
    files().makedirs(BUCKET, exist_ok=True)  # servers of one process share what lies in them
    try:
        yield f"s3://{BUCKET}/{port}"
    finally:
        server.stop()


def files() -> Any:
    return fsspec.filesystem("s3", use_listings_cache=False)


def names(address: str) -> list[str]:
    """What lies at an address, relative to it."""
    root = address.removeprefix("s3://")
    return sorted(name[len(root) + 1 :] for name in files().find(root))
