"""Every mitigation by name. A new method is one file here, or an entry point `cl_forget.mitigations`."""

from __future__ import annotations

from cl_forget.mitigations.base import PLACES, Chain, Mitigation
from cl_forget.registry import Registry

MITIGATIONS = Registry(
    "mitigation",
    "cl_forget.mitigations",
    {
        "joint": "cl_forget.mitigations.joint:Joint",
        "linear_probe": "cl_forget.mitigations.linear_probe:LinearProbe",
        "lp_ft": "cl_forget.mitigations.lp_ft:LinearProbeThenFineTune",
        "ldifs": "cl_forget.mitigations.ldifs:LDIFS",
        "l2_sp": "cl_forget.mitigations.l2_sp:L2SP",
        "wise_ft": "cl_forget.mitigations.wise_ft:WiseFT",
    },
)

__all__ = ["MITIGATIONS", "PLACES", "Chain", "Mitigation"]
