"""Audit and repair: what did a fine-tuned model lose, where, and how much comes back without training."""

from __future__ import annotations

from cl_forget.auditing.audit import audit
from cl_forget.auditing.records import Audit, Candidate, Effect, Point, Repair
from cl_forget.auditing.repair import repair

__all__ = ["Audit", "Candidate", "Effect", "Point", "Repair", "audit", "repair"]
