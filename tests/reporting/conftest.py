from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from browser import Browser, find_chromium
from samples import make_results

from cl_forget.comparison.records import Result
from cl_forget.reporting import Specification, specify


@pytest.fixture(scope="session")
def results() -> list[Result]:
    """Nine methods, three seeds; one result lacks a number, as after a failed evaluation."""
    made = make_results()
    broken = next(r for r in made if r.method == "SAM" and r.seed == 1)
    broken.rows[-1].suites["emoji"].test.accuracy = None
    return made


@pytest.fixture(scope="session")
def specification(results: list[Result]) -> Specification:
    return specify(results)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if find_chromium() is None:
        message = "Chromium is not installed, so the page is not tested; on Debian: apt-get install chromium"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    browser = Browser()
    yield browser
    browser.close()
