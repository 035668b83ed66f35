"""`train.compile`: the same numbers and names, and one line where it cannot be had."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from typing import Any

import pytest
import torch

from cl_forget.config.run import Run
from cl_forget.ground.errors import UserError
from cl_forget.mitigations import MITIGATIONS
from cl_forget.models.base import FoundationModel
from cl_forget.testing.driving import TRAIN, train
from cl_forget.testing.worlds import World, language, vision
from cl_forget.training import compiling
from cl_forget.training.compiling import compile_blocks, interpret
from cl_forget.training.options import Training

needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("g++", "clang++", "c++"))), reason="torch.compile needs a C++ compiler here"
)
COMPILED = TRAIN.model_copy(update={"compile": True})


def compiled_modules(model: FoundationModel) -> list[str]:
    return [name for name, module in model.named_modules() if module._compiled_call_impl is not None]


@needs_compiler
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch's own, while it looks at what it compiles
@pytest.mark.parametrize(("world", "method"), [(vision, None), (language, None), (vision, "ldifs")])
def test_the_numbers_are_the_same_but_for_rounding(world: Callable[[], World], method: str | None) -> None:
    """`ldifs` reads features at the blocks, by hooks that come and go."""

    def methods() -> list[Any]:
        return [] if method is None else [MITIGATIONS.get(method)()]

    plain, compiled = train(world(), methods()), train(world(), methods(), COMPILED)
    assert compiled.weights.keys() == plain.weights.keys()
    for name, tensor in plain.weights.items():
        torch.testing.assert_close(compiled.weights[name], tensor, rtol=0, atol=1e-5)


def just_compiled(monkeypatch: pytest.MonkeyPatch, model: FoundationModel, read: bool) -> None:
    monkeypatch.setattr(compiling, "_try_out", lambda device: None)
    compile_blocks(model, read)


@pytest.mark.parametrize("world", [vision, language])
def test_names_stay_and_a_copy_is_as_it_was(
    world: Callable[[], World], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is compiled before the first pass: this costs nothing."""
    model = world().model()
    names = list(model.state_dict())
    just_compiled(monkeypatch, model, read=False)
    assert len(compiled_modules(model)) == model.blocks
    assert list(model.state_dict()) == names
    assert not compiled_modules(copy.deepcopy(model))
    interpret(model)
    assert not compiled_modules(model)


def test_blocks_that_are_read_are_compiled_part_by_part(monkeypatch: pytest.MonkeyPatch) -> None:
    model = vision().model()
    just_compiled(monkeypatch, model, read=True)
    parts = compiled_modules(model)
    assert len(parts) > model.blocks
    assert {".".join(name.split(".")[:-1]) for name in parts} == {
        f"clip.visual.transformer.resblocks.{block}" for block in range(model.blocks)
    }


def test_one_line_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: Any, **__: Any) -> Any:
        raise RuntimeError("No working C++ compiler found\nand much more")

    monkeypatch.setattr(torch, "compile", none)
    with pytest.raises(
        UserError, match=r"train.compile: .*No working C.. compiler found.*leave it out"
    ) as said:
        compile_blocks(vision().model(), read=False)
    assert "\n" not in str(said.value)


def test_sharded_training_is_not_compiled() -> None:
    with pytest.raises(ValueError, match="do not go together"):
        Training(compile=True, strategy="fsdp", workers=2)


def test_without_it_nothing_is_another_run(tiny_run: Callable[..., Run]) -> None:
    given = tiny_run().train.model_dump()
    plain, compiled = tiny_run(), tiny_run(train={**given, "compile": True})
    assert plain.key() == tiny_run(train={**given, "compile": False}).key() != compiled.key()
