"""Names of tasks and methods, in whatever script and of whatever length."""

import numpy as np
import pytest

from cl_forget.config.experiment import folder_name
from cl_forget.config.run import FOLDER_BYTES
from cl_forget.ground.errors import UserError
from cl_forget.run.shared import check_names
from cl_forget.streams import Experience, ImageData, LabelSpace, load_stream


def task(name: str) -> Experience:
    data = ImageData([0, 1], array=np.zeros((2, 3, 4, 4), np.uint8))
    return Experience(name, LabelSpace(name, ("a", "b")), data, data, data)


@pytest.mark.parametrize("name", ["", " ", "a\nb", "a\tb", "\x00", "caf\udce9", "a\u2028b"])
def test_names_that_no_table_can_hold_are_refused_with_the_cure(name: str) -> None:
    with pytest.raises(UserError, match="give it a printable name with the option `name:`") as caught:
        task(name)
    str(caught.value).encode()


@pytest.mark.parametrize("name", ["digits", "数字", "naïve task", "a.b/c", "train", "x" * 500, "👩‍🚀"])
def test_other_names_are_taken(name: str) -> None:
    assert task(name).name == name


def test_names_given_twice_are_refused_with_the_cure() -> None:
    with pytest.raises(UserError, match="give one another name with the option `name:`"):
        load_stream(["squares", "squares"])
    with pytest.raises(UserError, match="give one another name with the option `name:`"):
        check_names([task("pets")], [task("pets")])
    check_names([task("pets")], [task("Pets")])


def test_folders_of_long_names_are_short_and_differ() -> None:
    assert folder_name("LDIFS + WiSE-FT") == "ldifs-wise-ft"
    long = [folder_name("é" * 400 + end) for end in ("", "x", "y")]
    assert len(set(long)) == 3
    assert all(len(name.encode()) <= FOLDER_BYTES for name in long)
