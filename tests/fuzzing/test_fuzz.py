"""Bad files of every format have two outcomes only: read rightly, or refused in one line.

The full run, with figures, is `python benchmarks/fuzz.py --examples 10000`.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from fuzzing.formats import FORMATS
from fuzzing.harness import Outcomes, attempt
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

EXAMPLES = 200
"""Per format, divided by what an example costs."""

pytestmark = pytest.mark.filterwarnings("ignore")  # of libraries that meet strange values


@pytest.mark.parametrize("name", FORMATS)
def test_right_or_refused(name: str, tmp_path: Path) -> None:
    outcomes = Outcomes()
    format_ = FORMATS[name]

    @settings(
        max_examples=max(6, EXAMPLES // format_.cost), deadline=None, derandomize=True, database=None,
        suppress_health_check=list(HealthCheck), phases=[Phase.generate],
    )  # fmt: skip
    @given(st.data())
    def examples(data: st.DataObject) -> None:
        attempt(format_, data.draw(format_.files), tmp_path / "place", outcomes)

    examples()
    assert outcomes.right > 0, "no example was valid: the strategy tests nothing"
    assert outcomes.refused > 0, "no example was refused: the strategy tests nothing"
