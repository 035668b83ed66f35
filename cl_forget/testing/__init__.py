"""The conformance kit: what every method promises, checked for one in a few seconds.

    from cl_forget.testing import check_method

    def test_my_method() -> None:
        check_method(MyMethod)

Our own methods are held to the same checks.
"""

from cl_forget.testing.checks import Report, check_method
from cl_forget.testing.driving import Outcome, task_of, train
from cl_forget.testing.worlds import World, language, vision

__all__ = ["Outcome", "Report", "World", "check_method", "language", "task_of", "train", "vision"]
