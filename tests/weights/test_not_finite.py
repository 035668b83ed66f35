"""A model whose training has diverged is no model to audit: refused, naming the tensor."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from cl_forget import UserError, audit, load_model


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("data", [{}, {"stream": [{"squares": {"tasks": 1}}], "suites": ["colours"]}])
def test_weights_that_are_not_finite(tmp_path: Path, value: float, data: dict[str, list[object]]) -> None:
    tensors = {name: t.clone() for name, t in load_model("tiny-clip").clip.state_dict().items()}  # type: ignore[union-attr, operator]
    tensors["visual.proj"][0, 0] = torch.tensor(value)
    save_file(tensors, tmp_path / "tuned.safetensors")
    with pytest.raises(
        UserError, match=r"'visual\.proj' in .*tuned\.safetensors holds numbers that are not finite"
    ):
        audit("tiny-clip", str(tmp_path / "tuned.safetensors"), output=tmp_path / "out", **data)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()
