"""Methods as they run on a tiny model: what one needs beyond its defaults is a line here."""

from __future__ import annotations

from typing import Any

from cl_forget.mitigations import MITIGATIONS, Mitigation

FIELDS: dict[str, dict[str, Any]] = {
    "clora": {"rank": 2},
    "derpp": {"memory": 6},
    "early_stopping": {"patience": 5},
    "er": {"memory": 6},
    "freeze": {"blocks": 1},
    "hma": {"groups": 2, "samples": 8},
    "lora": {"rank": 2},
    "lora_null": {"rank": 2},
    "o_lora": {"rank": 2},
    "ridge_head": {"features": 8},
    "sdft": {"template": "{response}={prompt}"},
    "star": {"memory": 6, "strength": 1.0},
    "zscl": {"reference": "colour-probe", "average_every": 2},
}


def mitigation(name: str, **more: Any) -> Mitigation:
    """The method with these fields, as far as it has them."""
    cls: type[Mitigation] = MITIGATIONS.get(name)
    return cls(**{k: v for k, v in {**FIELDS.get(name, {}), **more}.items() if k in cls.model_fields})
