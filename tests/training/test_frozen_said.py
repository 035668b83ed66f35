"""Answers in words, to the cache and back."""

from __future__ import annotations

from cl_forget.training.frozen import answers_of
from cl_forget.training.frozen._said import BYTES, spelt


def test_answers_come_back_as_they_were() -> None:
    given = ["yes", "", None, "größer als 3 → ∞", " leading and trailing ", "🦊" * 10]
    assert answers_of(spelt(given)) == given
    assert spelt([]).shape == (0, 1 + BYTES) and answers_of(spelt([])) == []


def test_a_long_answer_is_cut_between_two_letters() -> None:
    (kept,) = answers_of(spelt(["é" * BYTES]))
    assert kept is not None and kept.endswith("é…") and len(kept.encode()) <= BYTES
    assert answers_of(spelt(["x" * BYTES])) == ["x" * BYTES]
