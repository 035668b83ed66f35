"""The search for unreachable objects is put off, and comes back."""

from __future__ import annotations

import gc

import pytest

from cl_forget.ground.collection import uncollected


def test_the_search_is_put_off_and_comes_back_whatever_happens() -> None:
    with uncollected(), uncollected():
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ValueError), uncollected():
        raise ValueError
    assert gc.isenabled()


def test_who_has_put_it_off_before_is_not_overruled() -> None:
    gc.disable()
    try:
        with uncollected():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
