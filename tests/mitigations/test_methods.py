"""Every method keeps the promises that all make; what one needs on a tiny model is a line here."""

from __future__ import annotations

from typing import Any

import pytest

from cl_forget.mitigations import MITIGATIONS
from cl_forget.testing import check_method

FIELDS: dict[str, dict[str, Any]] = {
    "derpp": {"memory": 6},
    "er": {"memory": 6},
    "freeze": {"blocks": 1},
    "hma": {"groups": 2, "samples": 8},
    "lora": {"rank": 2},
    "lora_null": {"rank": 2},
    "o_lora": {"rank": 2},
    "star": {"memory": 6, "strength": 1.0},
    "zscl": {"reference": "colour-probe", "average_every": 2},
}


@pytest.mark.parametrize("name", MITIGATIONS.names())
def test_a_method_keeps_its_promises(name: str) -> None:
    texts = {"reference": "letters-copied"} if name == "zscl" else None
    check_method(MITIGATIONS.get(name), FIELDS.get(name), language_fields=texts)
