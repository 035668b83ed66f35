"""When a search has spent the passes of the whole sweep."""

from __future__ import annotations

from sweep_samples import FIELDS

from cl_forget.config.sweep import Sweep
from cl_forget.sweeps.searching import Balanced


def test_what_is_taken_over_is_not_spent_again() -> None:
    space = {"wise_ft.alpha": {"uniform": [0, 1]}}
    more = {"methods": {"WiSE-FT": ["wise_ft"]}, "space": space, "mode": "search", "control": False}
    search = Balanced(Sweep(**{**FIELDS, **more}, budget={"trials": 9}), ahead=1, passes=500)
    made = [200, 0, 0, 0, 200]  # the whole fine-tuning that others take over, and another one
    for number, passes in enumerate(made):
        assert search.suggest(str(number)) != "FINISHED"
        found = {"speciality": 0.5, "generality": 0.5, "passes": 200, "passes_made": passes}
        search.on_trial_complete(str(number), found)
    assert search.suggest("no room") == "FINISHED"
    assert search.out_of_passes and search.largest == 200
