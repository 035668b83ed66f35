"""The committed results of SmolLM2 belong to the experiment file, and the page shows them."""

import json
from pathlib import Path

from cl_forget.config.experiment import load_experiment
from cl_forget.config.run import Run

FOLDER = Path(__file__).parents[2] / "experiments" / "smollm2"


def test_results_are_of_the_file_s_arms() -> None:
    runs = {run.method: run for run in load_experiment(FOLDER / "embedded.yaml").runs()}
    found = [json.loads(path.read_text()) for path in (FOLDER / "results").glob("*/result.json")]
    assert {"full fine-tuning", "WiSE-FT 0.5", "LoRA"} <= {result["method"] for result in found}
    for result in found:
        expected, recorded = runs[result["method"]], Run.model_validate(result["run"])
        for field in ("model", "stream", "suites", "mitigations"):
            assert getattr(recorded, field) == getattr(expected, field), (result["method"], field)
        assert recorded.train == expected.train


def test_the_page_shows_the_table() -> None:
    table = (FOLDER / "results" / "table.md").read_text().strip()
    assert table in (FOLDER / "README.md").read_text()
