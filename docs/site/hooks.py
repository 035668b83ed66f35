"""What mkdocs is told about this repository: which files are pages, and what is made while the site is built.

Files keep the paths that they have in the repository, so that one link leads to the same place in the site and in
a view of the repository. Pages that stand outside `docs/` (the README, the experiments, model cards) are part of
the site, notebooks become pages, and the reference of the Python names is made from `cl_forget.__all__`.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

SHOWN = (
    "*.md",
    "docs/**/*",
    "notebooks/*.ipynb",
    "experiments/**/*.md",
    "experiments/**/*.yaml",
    "experiments/**/*.png",
    "benchmarks/*.md",
    "cl_forget/models/zoo/*/*.md",
    "LICENSE",
)
DOORS = ("cl_forget", "cl_forget.method", "cl_forget.testing")
"""The modules whose `__all__` is the public interface; those that are not there are left out."""


@event_priority(100)  # before the plugins, which look at what is there
def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The files of the site, by their paths in the repository."""
    root = Path(config.config_file_path).parent
    theme = [file for file in files if file.src_dir != config.docs_dir]
    found = Files(theme)
    for path in sorted({path for pattern in SHOWN for path in root.glob(pattern) if path.is_file()}):
        name = path.relative_to(root).as_posix()
        if path.suffix == ".py" or "__pycache__" in name or ("/results/" in name and path.suffix == ".yaml"):
            continue
        if path.suffix == ".ipynb":
            for file in _notebook(path, name, config):
                found.append(file)
        else:
            found.append(File.generated(config, name, abs_src_path=str(path)))
    found.append(File.generated(config, "docs/reference/python.md", content=python_page()))
    found.append(File.generated(config, "docs/reference/commands.md", content=commands_page()))
    return found


def _notebook(path: Path, name: str, config: MkDocsConfig) -> Iterator[File]:
    """A notebook as a page, with the pictures of its outputs."""
    import nbformat
    from nbconvert import MarkdownExporter

    page = name.removesuffix(".ipynb")
    resources = {"output_files_dir": f"{path.stem}_files", "unique_key": path.stem}
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata.setdefault("language_info", {"name": "python"})  # for the colours of code
    body, made = MarkdownExporter().from_notebook_node(notebook, resources=resources)
    above = f"This page is the notebook `{name}`, which the tests run."
    heading, _, rest = body.lstrip().partition("\n")
    yield File.generated(config, f"{page}.md", content=f"{heading}\n\n{above}\n{rest}")
    for output, data in made["outputs"].items():
        yield File.generated(config, f"{Path(page).parent}/{output}", content=data)


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links to notebooks lead to their pages."""
    return re.sub(r"\]\(([^)\s]+)\.ipynb((?:#[^)\s]*)?)\)", r"](\1.md\2)", markdown)


def python_page() -> str:
    """The reference of everything public, as directives for mkdocstrings; each thing once, at its first door."""
    parts = [
        "# Python reference\n",
        "Everything public. `import cl_forget` loads nothing until a name is used.\n",
    ]
    shown: list[Any] = []
    for door in DOORS:
        if importlib.util.find_spec(door) is None:
            continue
        module, elsewhere = importlib.import_module(door), []
        parts.append(f"## `{door}`\n")
        for name in module.__all__:
            thing = getattr(module, name)
            ours = (
                isinstance(thing, type(importlib))
                or getattr(thing, "__module__", "").partition(".")[0] == "cl_forget"
            )
            if not ours or any(thing is one for one in shown):
                elsewhere.append(f"`{name}`")
                continue
            shown.append(thing)
            place = thing.__name__ if inspect.ismodule(thing) else f"{door}.{name}"
            parts.append(f"::: {place}\n    options:\n      heading: {door}.{name}\n      heading_level: 3\n")
        if elsewhere:
            parts.append(
                f"Also there, from above or from the library it belongs to: {', '.join(elsewhere)}.\n"
            )
    return "\n".join(parts)


def commands_page() -> str:
    """Every command of the command line with its arguments and options, as its own help has them."""
    import typer
    from typer.cli import get_docs_for_click

    from cl_forget.cli.app import app

    command = typer.main.get_command(app)
    context = typer.Context(command, info_name="cl-forget")
    return get_docs_for_click(obj=command, ctx=context, name="cl-forget", title="Command line")
