"""Every method keeps the promises that all make."""

from __future__ import annotations

from typing import Any

import pytest
from small import FIELDS

from cl_forget.mitigations import MITIGATIONS
from cl_forget.testing import check_method

TEXTS: dict[str, dict[str, Any]] = {"zscl": {"reference": "letters-copied"}}
"""Fields that are others for a language model."""


@pytest.mark.parametrize("name", MITIGATIONS.names())
def test_a_method_keeps_its_promises(name: str) -> None:
    check_method(MITIGATIONS.get(name), FIELDS.get(name), language_fields=TEXTS.get(name))
