"""The site builds without a warning, holds everything public, and fetches nothing from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

import cl_forget
import cl_forget.method
import cl_forget.testing

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(  # --quiet would not count warnings
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert built.returncode == 0, built.stderr
    return folder


@pytest.mark.slow
def test_the_python_reference_has_everything_public(site: Path) -> None:
    page = (site / "docs" / "reference" / "python.html").read_text()
    there = set(re.findall(r'id="cl_forget\.(\w+)"', page))
    assert there == set(cl_forget.__all__)
    for door in (cl_forget.method, cl_forget.testing):
        for name in door.__all__:
            assert f"{door.__name__}.{name}" in page or f"<code>{name}</code>" in page, name


@pytest.mark.slow
def test_the_command_line_has_every_command(site: Path) -> None:
    from cl_forget.cli.app import app

    page = (site / "docs" / "reference" / "commands.html").read_text()
    names = {c.name or c.callback.__name__ for c in app.registered_commands if c.callback}
    assert len(names) > 8
    assert all(f"<code>cl-forget {name}</code>" in page for name in names)


@pytest.mark.slow
def test_nothing_is_fetched_from_elsewhere_and_every_local_file_is_there(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 30
    for page in pages:
        text = page.read_text()
        loaded = re.findall(r"<(?:script|img|iframe|source)\b[^>]*?\bsrc=\"([^\"]+)\"", text)
        loaded += re.findall(
            r"<link\b[^>]*?\brel=\"(?:stylesheet|icon|preload)\"[^>]*?\bhref=\"([^\"]+)\"", text
        )
        remote = [place for place in loaded if re.match(r"(?:https?:)?//", place)]
        assert remote == [], page
        for place in loaded:
            if not place.startswith("data:") and page.name != "404.html":
                assert (page.parent / unquote(place.partition("?")[0])).exists(), f"{page}: {place}"


@pytest.mark.slow
def test_notebooks_are_pages_with_their_pictures(site: Path) -> None:
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        page = (site / "notebooks" / f"{notebook.stem}.html").read_text()
        assert f"{notebook.stem}_files/" in page
        assert ".ipynb)" not in page and 'ipynb"' not in page
