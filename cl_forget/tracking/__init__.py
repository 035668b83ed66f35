"""Where results go besides the return value: files always, Weights & Biases when asked."""

from __future__ import annotations

from cl_forget.tracking.base import NullTracker, Tracker
from cl_forget.tracking.login import mode_of
from cl_forget.tracking.start import start_tracker

__all__ = ["NullTracker", "Tracker", "mode_of", "start_tracker"]
