"""Every kind of file that the product reads, a strategy for bad ones, and the way the product reads it."""

# ruff: noqa: E501  tables of values read best with many in a line

from __future__ import annotations

import io
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from fuzzing.harness import Files, Format
from fuzzing.mutations import (
    NASTY_TEXTS,
    damaged,
    documents,
    json_files,
    json_lines,
    safetensors_files,
    tables,
    values,
    yaml_files,
)
from hypothesis import strategies as st
from PIL import Image

from cl_forget.config.experiment import load_experiment
from cl_forget.config.run import Run
from cl_forget.ground.redact import redact
from cl_forget.models import load_model
from cl_forget.streams import load_stream, load_suite

ZOO = Path(load_model.__code__.co_filename).parent / "zoo"


def _files(**named: st.SearchStrategy[bytes] | bytes) -> st.SearchStrategy[Files]:
    """A folder with these files; `__` in a name stands for a point, `___` for a slash."""
    plain = {name.replace("___", "/").replace("__", "."): content for name, content in named.items()}
    return st.fixed_dictionaries(
        {
            name: content if isinstance(content, st.SearchStrategy) else st.just(content)
            for name, content in plain.items()
        }
    )


@contextmanager
def _copy(given: Path) -> Iterator[Path]:
    """A copy of what is given, for readers that go on in the folder."""
    with tempfile.TemporaryDirectory(prefix="fuzz") as temporary:
        yield Path(shutil.copytree(given, Path(temporary) / "run"))


# -- settings ------------------------------------------------------------------------------------------

EXPERIMENT = {
    "model": "emoji-clip", "stream": ["digits", {"folder": {"path": "pets", "classes": {"a": "b"}}}], "suites": ["emoji"],
    "methods": {"plain": [], "mixed": ["ldifs", {"wise_ft": {"alpha": 0.5}}, {"lora": 8}]},
    "train": {"epochs": 2, "batch_size": 8, "lr": 1e-3, "betas": [0.9, 0.99]}, "evaluate": {"limit": 5},
    "track": {"wandb": "off", "tags": ["a"]}, "text": {"max_length": 64}, "seeds": [0, 1],
}  # fmt: skip
RECORDED = {
    "model": "tiny-clip",
    "stream": "squares",
    "method": "plain",
    "mitigations": [{"l2_sp": {"strength": 1.0}}],
    "seed": 3,
}
SWEEP = {
    "name": "s", "model": "tiny-clip", "stream": ["squares"], "suites": ["colours"],
    "methods": {"a": ["l2_sp"], "b": [{"wise_ft": {}}, "ldifs"]}, "seeds": [0, 1],
    "space": {"wise_ft.alpha": [0.2, 0.4], "train.lr": {"grid": [1e-3, 1e-2], "methods": ["a"]}},
    "mode": "curve", "budget": {"trials": 3}, "report_on": {"stream": ["squares"], "seeds": [2]},
    "protocol": {"equal": "trials"},
}  # fmt: skip


def _experiment(given: Path, out: Path, overrides: tuple[str, ...] = ()) -> None:
    for run in load_experiment(given / "x.yaml", overrides).runs()[:3]:
        run.key(), run.training_keys()
        yaml.safe_dump(redact(run.model_dump(mode="json")))


def _sweep(given: Path, out: Path) -> None:
    from cl_forget.config.sweep import load_sweep
    from cl_forget.sweeps.planning import plan_grid, share

    sweep = load_sweep(given / "x.yaml")
    if sweep.mode == "curve":
        share(plan_grid(sweep))
    yaml.safe_dump(redact(sweep.model_dump(mode="json")))


FIELDS = (
    "train.lr", "train", "methods.plain", "methods.mixed.0", "methods.mixed.1.wise_ft.alpha", "methods.mixed.9", "seeds", "seeds.0",
    "stream", "stream.1.folder.path", "suites.0.x", "model", "name", "track.tags.0", "evaluate.limit", "x", "", ".", "train.", "a.b.c",
    "methods.²", "seeds.٣", "methods.mixed.-1", "train.lr.x", "train.betas.1",
)  # fmt: skip
_GOOD = (
    "train.lr=1e-4",
    "train.epochs=2",
    "seeds=[0, 1]",
    "methods.mixed.1.wise_ft.alpha=0.3",
    "stream=[digits]",
    "name=x",
)
overrides = st.sampled_from(_GOOD) | st.builds(
    lambda field, sign, value: (field + sign + value).replace("\0", ""),
    st.sampled_from(FIELDS) | st.text(max_size=6),
    st.sampled_from(("=",) * 8 + ("", "==", ":")),
    values.map(lambda v: yaml.safe_dump(v, default_flow_style=True).strip())
    | st.sampled_from(NASTY_TEXTS)
    | st.text(max_size=8),
)


def _overridden(given: Path, out: Path) -> None:
    given_overrides = json.loads((given / "overrides.json").read_bytes())
    _experiment(given, out, tuple(given_overrides))


def _options(given: Path, out: Path) -> None:
    """What `--stream`, `--suite` and `--text` of a command may say."""
    from cl_forget.cli.pair import named, text_options

    text = (given / "option").read_bytes().decode("utf-8", "replace")
    named([text])
    text_options(text)


# -- records -------------------------------------------------------------------------------------------


@cache
def _finished() -> tuple[Run, dict[str, bytes], Any]:
    """A small run, its folder, and what it loads."""
    from cl_forget.run.shared import Setup
    from cl_forget.run.simulate import simulate

    run = Run.parse({
        "model": "tiny-clip", "stream": {"squares": {"tasks": 1}}, "suites": ["colours"], "method": "plain",
        "mitigations": ["wise_ft"], "train": {"epochs": 1, "batch_size": 8}, "evaluate": {"export": False},
    })  # fmt: skip
    setup = Setup(run)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        simulate(run, folder / "run", setup=setup)
        kept = [file for file in (folder / "run").rglob("*") if file.is_file()]
        return run, {str(file.relative_to(folder / "run")): file.read_bytes() for file in kept}, setup


def _record(name: str) -> Any:
    return json.loads(_finished()[1][name])


def _result(given: Path, out: Path, whole: bool = False) -> None:
    from cl_forget.comparison.records import Result
    from cl_forget.reporting import report, specify, terminal_table

    result = Result.load(given / "result.json")
    if whole:
        report([result], out)
        return
    terminal_table([result])
    specify([result])
    Run.parse({key: value for key, value in result.run.items() if key in Run.model_fields})


def _resumed(given: Path, out: Path) -> None:
    from cl_forget.run.simulate import simulate

    run, _, setup = _finished()
    with _copy(given) as folder:
        simulate(run, folder, resume=True, setup=setup)


def _donor(given: Path, out: Path) -> None:
    from cl_forget.run.donor import Donor

    with _copy(given) as folder:
        donor = Donor(folder, _finished()[0])
        for index in range(donor.stages):
            donor.folder.load(donor.entry(index))


def _states() -> st.SearchStrategy[Files]:
    state = _record("state.json")
    others = {name: content for name, content in _finished()[1].items() if name != "state.json"}
    mutated = json_files(
        state, {**state, "finished": False}, {**state, "finished": False, "rows": state["rows"][:1]}
    )
    return st.fixed_dictionaries(
        {**{name: st.just(own) for name, own in others.items()}, "state.json": mutated}
    )


def _event_logs() -> st.SearchStrategy[Files]:
    _, own, _ = _finished()
    events = [json.loads(line) for line in own["events.jsonl"].splitlines()]
    state = {**json.loads(own["state.json"]), "finished": False}
    others = {
        name: content
        for name, content in own.items()
        if name not in ("events.jsonl", "result.json", "state.json")
    }
    fixed = {name: st.just(content) for name, content in others.items()}
    return st.fixed_dictionaries(
        {**fixed, "state.json": st.just(json.dumps(state).encode()), "events.jsonl": json_lines(events)}
    )


def _events(given: Path, out: Path) -> None:
    from cl_forget.reporting.serve import LiveReport

    live = LiveReport([given])
    live.progress(), live.html()
    _resumed(given, out)


def _trials(given: Path, out: Path) -> None:
    from rich.console import Console

    from cl_forget.comparison.trials import columns, load_trials
    from cl_forget.reporting import specify_folders
    from cl_forget.sweeps.live import screen

    columns(load_trials(given))
    Console(file=io.StringIO(), width=100).print(screen(given))
    specify_folders([given])


def _trial_files() -> st.SearchStrategy[Files]:
    from cl_forget.comparison.trials import Trial
    from cl_forget.sweeps.folder import SweepState

    numbers = {
        "speciality": 0.9,
        "generality": 0.4,
        "retention": 0.8,
        "speciality_pretrained": 0.2,
        "generality_pretrained": 0.5,
        "speciality_by_task": {"a": 0.9},
    }
    records = [
        json.loads(Trial(
            sweep="s", id=name, method="L2-SP", mitigations=[{"l2_sp": {"strength": value}}], knob="l2_sp.strength", value=value,
            status="finished", validation=numbers, test=numbers, cost={"steps": 10, "samples_seen": 100}, seconds=2.0,
        ).model_dump_json())
        for name, value in (("a", 1.0), ("b", 10.0))
    ]  # fmt: skip
    state = json.loads(
        SweepState(name="s", mode="curve", planned=2, started=1.0, resumed=2.0).model_dump_json()
    )
    good = {
        "sweep__json": json.dumps(state).encode(),
        "sweep__yaml": yaml.safe_dump(SWEEP).encode(),
        "trials___a___trial__json": json.dumps(records[0]).encode(),
        "trials___b___trial__json": json.dumps(records[1]).encode(),
    }
    return st.one_of(
        _files(**{**good, "sweep__json": json_files(state)}),
        _files(**{**good, "sweep__yaml": yaml_files(SWEEP)}),
        _files(**{**good, "trials___a___trial__json": json_files(*records)}),
    )


# -- texts and images ----------------------------------------------------------------------------------

PAIRS = [{"prompt": f"{i} + {i} =", "response": str(2 * i)} for i in range(12)]
CHATS = [
    {"messages": [{"role": "user", "content": f"say {i}"}, {"role": "assistant", "content": f"{i}"}]}
    for i in range(12)
]
ALPACA = [
    {"instruction": f"add {i}", "input": "" if i % 2 else "to 1", "output": f"{i + 1}"} for i in range(12)
]
SHARED = [
    {"conversations": [{"from": "human", "value": f"hi {i}"}, {"from": "gpt", "value": "ho"}]}
    for i in range(12)
]
CHOSEN = [{"question": f"q{i}", "choices": ["a", "b"], "answer": "b"} for i in range(12)]
CSV = [["prompt", "response"], *([f"what is {i}?", str(i)] for i in range(12))]
templates = st.sampled_from((None, None, "prompt", "{prompt}", "Q: {question}\n", "{q!z}", "{", "{0}", "{prompt.__class__}", "{}",
                             "{prompt:>9999999999}", "{prompt[0]}", "{a!r}", "", "\0", "{prompt!s:{response}}"))  # fmt: skip


def _text(source: str, given: Path, out: Path) -> None:
    options = json.loads((given / "options.json").read_bytes())
    named = {key: value for key, value in options.items() if value is not None}
    file = next(path for path in given.iterdir() if path.name != "options.json")
    for experience in load_stream({source: {"path": str(file), **named}}):
        for data in experience.splits().values():
            assert len(data) > 0
            for prompt, response in zip(data.prompts, data.responses, strict=True):  # type: ignore[union-attr]
                assert isinstance(response, str)
                assert isinstance(prompt, str | list)


def _texts(file: str, content: st.SearchStrategy[bytes]) -> st.SearchStrategy[Files]:
    chosen = st.fixed_dictionaries(
        {
            "prompt": templates,
            "response": templates,
            "choices": st.sampled_from((None, None, None, "choices", "x", "{a}")),
        }
    )
    plain = st.just({"prompt": None, "response": None, "choices": None})
    return st.fixed_dictionaries(
        {
            file: content,
            "options.json": (plain | plain | chosen).map(lambda options: json.dumps(options).encode()),
        }
    )


def _pictures() -> st.SearchStrategy[Files]:
    made = {}
    for kind, mode in (("png", "RGB"), ("jpeg", "L"), ("gif", "P"), ("png", "RGBA"), ("bmp", "RGB")):
        buffer = io.BytesIO()
        Image.fromarray(np.full((9, 9, 3), 77, np.uint8)).convert(mode).save(buffer, format=kind)
        made[f"{kind}{mode}"] = buffer.getvalue()
    folder = {f"pets/{name}/{i}.png": st.just(_shade(9 * i)) for name in ("cat", "dog") for i in range(8)}
    return st.fixed_dictionaries(
        {**folder, "pets/dog/8.png": st.sampled_from(sorted(made.values())).flatmap(damaged)}
    )


def _shade(grey: int) -> bytes:
    """A picture unlike others, as copies of one could not be put into several splits."""
    buffer = io.BytesIO()
    Image.fromarray(np.full((9, 9, 3), grey, np.uint8)).save(buffer, format="png")
    return buffer.getvalue()


def _images(given: Path, out: Path) -> None:
    for experience in load_stream({"folder": {"path": str(given / "pets")}}):
        for data in experience.splits().values():
            for i in range(len(data)):
                data.image(i)  # type: ignore[union-attr]


# -- weights -------------------------------------------------------------------------------------------

BASE = {
    "a.weight": torch.arange(12.0).reshape(3, 4),
    "b.weight": torch.arange(6, dtype=torch.float16).reshape(2, 3),
}


def _safetensors(tensors: dict[str, torch.Tensor]) -> tuple[dict[str, Any], bytes]:
    """Header and data."""
    from safetensors.torch import save

    content = save(tensors, {"format": "pt"})
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def _whole(tensors: dict[str, torch.Tensor]) -> bytes:
    from safetensors.torch import save

    return save(tensors, {"format": "pt"})


def _torch(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def _checkpoint(given: Path, out: Path, name: str = "", base: bool = False) -> None:
    """Read every tensor, and write the model again."""
    from cl_forget.weights.checkpoint import open_checkpoint
    from cl_forget.weights.reading import InMemory

    opened = open_checkpoint(given / name, InMemory(BASE) if base else None)
    for tensor in opened.source.infos:
        opened.source.load(tensor)
    if opened.files:
        opened.write(out / "written", opened.source.load)


ADAPTER = {
    "base_model.model.a.lora_A.weight": torch.ones(2, 4), "base_model.model.a.lora_B.weight": torch.ones(3, 2),
}  # fmt: skip
ADAPTER_CONFIG = {
    "peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["a"], "base_model_name_or_path": "x", "bias": "none",
    "use_rslora": False, "use_dora": False, "rank_pattern": {}, "alpha_pattern": {"a": 2}, "fan_in_fan_out": False,
    "init_lora_weights": True, "modules_to_save": None, "task_type": "CAUSAL_LM",
}  # fmt: skip
INDEX = {
    "metadata": {"total_size": 60},
    "weight_map": {"a.weight": "model-1.safetensors", "b.weight": "model-2.safetensors"},
}


def _model(name: str, given: Path, out: Path) -> None:
    load_model(name.format(given=given))


def _open_clip_config() -> st.SearchStrategy[Files]:
    """The configuration of a small model beside weights that fit it."""
    import open_clip

    config = {
        "model_cfg": {
            "embed_dim": 16,
            "vision_cfg": {"image_size": 16, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8},
            "text_cfg": {"context_length": 16, "vocab_size": 600, "width": 32, "heads": 2, "layers": 1},
        },
        "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
    }
    own = config["model_cfg"]
    clip = open_clip.model.CLIP(own["embed_dim"], own["vision_cfg"], own["text_cfg"])  # type: ignore[arg-type]
    return st.fixed_dictionaries(
        {
            "open_clip_config.json": json_files(config),
            "open_clip_model.safetensors": st.just(_whole(clip.state_dict())),
        }
    )


@cache
def _language_model() -> dict[str, bytes]:
    import tiny_lm

    with tempfile.TemporaryDirectory() as temporary:
        folder = tiny_lm.folder(Path(temporary), chat=True)
        return {file.name: file.read_bytes() for file in folder.iterdir()}


def _lm_files(*mutated: str) -> st.SearchStrategy[Files]:
    files = _language_model()
    bad = {name: json_files(json.loads(files[name])) for name in mutated}
    return st.fixed_dictionaries({**{name: st.just(own) for name, own in files.items()}, **bad})


def _gguf() -> bytes:
    import gguf

    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as temporary:
        writer = gguf.GGUFWriter(Path(temporary) / "m.gguf", "llama")
        writer.add_block_count(1), writer.add_context_length(32), writer.add_embedding_length(32)
        writer.add_feed_forward_length(32), writer.add_head_count(2), writer.add_head_count_kv(2)
        writer.add_layer_norm_rms_eps(1e-5), writer.add_vocab_size(8), writer.add_tokenizer_model("gpt2")
        writer.add_token_list(["a", "b", "ab", "d", "e", "f", "g", "h"]), writer.add_token_merges(["a b"])
        writer.add_bos_token_id(0), writer.add_eos_token_id(1)
        square = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
        shapes = {f"blk.0.{name}.weight": (32, 32) for name in square}
        shapes |= {
            "blk.0.attn_norm.weight": (32,),
            "blk.0.ffn_norm.weight": (32,),
            "output_norm.weight": (32,),
        }
        shapes |= {"token_embd.weight": (8, 32), "output.weight": (8, 32)}
        for name, shape in shapes.items():
            writer.add_tensor(name, random.standard_normal(shape).astype(np.float32))
        (
            writer.write_header_to_file(),
            writer.write_kv_data_to_file(),
            writer.write_tensors_to_file(),
            writer.close(),
        )
        return (Path(temporary) / "m.gguf").read_bytes()


@st.composite
def _gguf_files(draw: Any) -> Files:
    content = bytearray(_cached_gguf())
    for _ in range(draw(st.sampled_from((0, 1, 1, 2)))):  # numbers of the header: counts, lengths, types
        at = draw(st.integers(0, 1400))
        size = draw(st.sampled_from((1, 4, 8)))
        content[at : at + size] = draw(st.sampled_from((0, 1, 2**7, 2**31, 2**60, 2**64 - 1))).to_bytes(
            8, "little"
        )[:size]
    return {"m.gguf": draw(damaged(bytes(content)))}


_cached_gguf = cache(_gguf)


# -- all of them ---------------------------------------------------------------------------------------

header, data = _safetensors(BASE)
adapter_header, adapter_data = _safetensors(ADAPTER)


def _made(strategy: Callable[[], st.SearchStrategy[Files]]) -> st.SearchStrategy[Files]:
    return st.deferred(strategy)


FORMATS = {
    format_.name: format_
    for format_ in (
        Format("experiment file", _files(x__yaml=yaml_files(EXPERIMENT, RECORDED)), _experiment),
        Format("sweep file", _files(x__yaml=yaml_files(SWEEP)), _sweep, 2),
        Format(
            "overrides",
            _files(
                x__yaml=yaml.safe_dump(EXPERIMENT).encode(),
                overrides__json=st.lists(overrides, max_size=3).map(lambda texts: json.dumps(texts).encode()),
            ),
            _overridden,
        ),
        Format("options of a command", _files(option=yaml_files({"folder": {"path": "x"}}, {"max_length": 2})), _options),
        Format("result.json", _made(lambda: _files(result__json=json_files(_record("result.json")))), _result, 2),
        Format("report on a result", _made(lambda: _files(result__json=json_files(_record("result.json")))),
               partial(_result, whole=True), 50),
        Format("state.json, as a donor", _made(_states), _donor, 2),
        Format("state.json, resumed", _made(_states), _resumed, 20),
        Format("events.jsonl, resumed", _made(_event_logs), _events, 50),
        Format("sweep.json, sweep.yaml, trial.json", _made(_trial_files), _trials, 5),
        Format("JSON lines", _texts("x.jsonl", json_lines(PAIRS, CHATS, ALPACA, SHARED, CHOSEN)), partial(_text, "jsonl")),
        Format("CSV", _texts("x.csv", tables(CSV)), partial(_text, "csv")),
        Format("images", _made(_pictures), _images, 2),
        Format("safetensors", _files(m__safetensors=safetensors_files(header, data)), partial(_checkpoint, name="m.safetensors"), 2),
        Format("torch file", _made(lambda: _files(m__pt=st.sampled_from((_torch(BASE), _torch({"state_dict": BASE}), _torch([1])))
                                   .flatmap(damaged))), partial(_checkpoint, name="m.pt"), 2),
        Format("shard index", _files(**{
            "model__safetensors__index__json": json_files(INDEX),
            "model-1__safetensors": _whole({"a.weight": BASE["a.weight"]}),
            "model-2__safetensors": _whole({"b.weight": BASE["b.weight"]}),
        }), _checkpoint, 2),
        Format("LoRA adapter", _files(
            adapter_config__json=json_files(ADAPTER_CONFIG), adapter_model__safetensors=_whole(ADAPTER)
        ) | _files(
            adapter_config__json=json.dumps(ADAPTER_CONFIG).encode(),
            adapter_model__safetensors=safetensors_files(adapter_header, adapter_data),
        ), partial(_checkpoint, base=True), 2),
        Format("open_clip configuration", _made(_open_clip_config), partial(_model, "open_clip:local-dir:{given}"), 100),
        Format("transformers configuration", _made(lambda: _lm_files("config.json")), partial(_model, "hf:{given}"), 50),
        Format("tokenizer", _made(lambda: _lm_files("tokenizer.json", "tokenizer_config.json")), partial(_model, "hf:{given}"), 50),
        Format("GGUF", _gguf_files().map(lambda files: files), partial(_model, "gguf:{given}/m.gguf"), 100),
    )
}  # fmt: skip
"""By name."""

__all__ = ["FORMATS", "documents", "load_suite"]
