"""TRACE's general ability delta on the numbers of its paper."""

import numpy as np
import pytest

from cl_forget.evaluation import metrics
from cl_forget.streams.protocols.published import PROTOCOLS

# MMLU, GSM, BBH, TyDiQA, BoolQ, PIQA of Wang et al. 2310.06762, table 2.
BASE = {
    "LLaMA-2-7B-Chat": (46.56, 26.08, 40.23, 23.47, 70.55, 76.22),
    "LLaMA-2-13B-Chat": (54.61, 43.14, 49.70, 27.65, 81.5, 78.24),
}
TRAINED = {
    "SeqFT, LLaMA-2-7B-Chat": (46.43, 3.49, 30.11, 33.23, 77.89, 76.5),
    "LoraSeqFT, LLaMA-2-7B-Chat": (42.28, 14.71, 33.61, 21.72, 53.43, 75.19),
    "SeqFT, LLaMA-2-13B-Chat": (41.88, 2.12, 19.47, 32.27, 82.08, 77.15),
    "LoraSeqFT, LLaMA-2-13B-Chat": (50.63, 24.72, 38.98, 26.93, 68.96, 78.02),
}


@pytest.mark.parametrize("method", TRAINED)
def test_the_delta_is_the_one_that_is_printed(method: str) -> None:
    [lines] = PROTOCOLS["trace"].published.values()
    [printed] = [line.values["general_ability_delta"] for line in lines if line.method == method]
    G = np.array([BASE[method.partition(", ")[2]], TRAINED[method]]) / 100
    assert metrics.general_ability_delta(G)[-1] == pytest.approx(printed, abs=2e-4)  # of rounded numbers
