"""Execute the notebooks from a clean kernel and keep what they printed and drew.

    python notebooks/execute.py            all of them
    python notebooks/execute.py 01 03      those whose names begin so

Each runs in an empty folder of its own, so that nothing it writes stays behind.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

HERE = Path(__file__).parent


def execute(path: Path, folder: Path, timeout: float = 900.0) -> NotebookNode:
    """The notebook with its outputs, executed in `folder`; raises where a cell fails."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook, timeout=timeout, kernel_name="python3", resources={"metadata": {"path": folder}}
    )
    client.execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times of day, different whenever it is run
        if cell.cell_type == "code":  # progress bars go to standard error
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    notebook.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    return notebook


def main() -> None:
    chosen = tuple(sys.argv[1:])
    for path in sorted(HERE.glob("*.ipynb")):
        if chosen and not path.name.startswith(chosen):
            continue
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            notebook = execute(path, Path(folder))
        nbformat.write(notebook, path)
        print(f"{path.name}: {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
