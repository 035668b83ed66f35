"""Peak memory of merging two checkpoints, in checkpoints: `θ0 + s·(θ-θ0)` tensor by tensor.

python benchmarks/merge.py                     a Llama of 513 M parameters, bfloat16, in four shards
python benchmarks/merge.py --layers 2          a quick look

The models are random and lie in a temporary folder that is deleted at the end. Each merge runs in a process of
its own, whose largest resident set the kernel keeps (`VmHWM`, mapped files included).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WIDTH, INNER, WORDS = 1024, 2816, 50_000


def shapes(layers: int) -> dict[str, tuple[int, ...]]:
    """A Llama's tensors."""
    found: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (WORDS, WIDTH)}
    for i in range(layers):
        stem = f"model.layers.{i}"
        found |= {f"{stem}.self_attn.{x}_proj.weight": (WIDTH, WIDTH) for x in "qkvo"}
        found |= {f"{stem}.mlp.{x}_proj.weight": (INNER, WIDTH) for x in ("gate", "up")}
        found |= {f"{stem}.mlp.down_proj.weight": (WIDTH, INNER), f"{stem}.input_layernorm.weight": (WIDTH,)}
    return {**found, "model.norm.weight": (WIDTH,), "lm_head.weight": (WORDS, WIDTH)}


def make(folder: Path, layers: int, seed: int, shards: int = 4) -> None:
    """A sharded model with random weights, written tensor by tensor."""
    import torch

    from cl_forget.weights.reading import TensorInfo
    from cl_forget.weights.writing import write_safetensors

    folder.mkdir()
    generator = torch.Generator().manual_seed(seed)
    infos = {name: TensorInfo(torch.bfloat16, shape) for name, shape in shapes(layers).items()}

    def tensor(name: str) -> torch.Tensor:
        return torch.empty(infos[name].shape, dtype=torch.bfloat16).uniform_(-0.05, 0.05, generator=generator)

    home = {name: f"model-{i * shards // len(infos) + 1}.safetensors" for i, name in enumerate(infos)}
    for file in sorted(set(home.values())):
        own = {name: info for name, info in infos.items() if home[name] == file}
        write_safetensors(folder / file, own, tensor, {"format": "pt"})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": home}))


def merge(base: str, tuned: str, output: str) -> None:
    """In a process of its own: merge, and print what it took."""
    import torch  # noqa: F401  the baseline: a process that could do nothing else with a checkpoint either

    from cl_forget.weights.checkpoint import open_checkpoint
    from cl_forget.weights.merge import merge

    before = largest_resident_set()
    started = time.perf_counter()
    source = open_checkpoint(Path(base)).source
    merge(source, open_checkpoint(Path(tuned), source), lambda name: 0.5, Path(output))
    peak = largest_resident_set()
    print(json.dumps({"before": before, "peak": peak, "seconds": time.perf_counter() - started}))


def largest_resident_set() -> int:
    """KiB since this program began; `getrusage` would give a child what its parent once held."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def measured(base: Path, tuned: Path, output: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--merge", str(base), str(tuned), str(output)]
    return dict(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--merge", nargs=3, metavar=("BASE", "TUNED", "OUTPUT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.merge:
        merge(*options.merge)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for seed, name in enumerate(("base", "tuned")):
            make(folder / name, options.layers, seed)
        size = sum(file.stat().st_size for file in (folder / "base").glob("*.safetensors"))
        rows = {"safetensors, four shards": measured(folder / "base", folder / "tuned", folder / "out")}
        written = sum(file.stat().st_size for file in (folder / "out").glob("*.safetensors"))
        assert written == size, (written, size)
        as_torch_file(folder / "tuned", folder / "tuned.pt")
        rows["`.pt`"] = measured(folder / "base", folder / "tuned.pt", folder / "out-pt")
    report(rows, size, options.layers)


def as_torch_file(folder: Path, file: Path) -> None:
    """The same model as one file of torch's."""
    from cl_forget.weights.checkpoint import open_checkpoint
    from cl_forget.weights.writing import write_torch

    source = open_checkpoint(folder).source
    write_torch(file, source.infos, source.load)


def report(rows: dict[str, dict[str, float]], size: int, layers: int) -> None:
    parameters = sum(entries(shape) for shape in shapes(layers).values())
    print(f"{parameters / 1e6:.0f} M parameters, one checkpoint {size / 2**20:,.0f} MiB\n")
    print("| format | peak of the merge, in checkpoints | whole process, in checkpoints | seconds |")
    print("|---|---:|---:|---:|")
    for name, row in rows.items():
        peak, before = (row[key] * 1024 / size for key in ("peak", "before"))
        print(f"| {name} | {peak - before:.2f} | {peak:.2f} | {row['seconds']:.1f} |")


def entries(shape: tuple[int, ...]) -> int:
    size = 1
    for side in shape:
        size *= side
    return size


if __name__ == "__main__":
    main()
