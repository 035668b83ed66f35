import pytest

from cl_forget.ground.errors import UserError
from cl_forget.streams import Scoring, TextData, load_stream, text_experience

DATA = TextData(["4", "9"], ["2+2=", "3*3="])


def test_content_decides_the_fingerprint() -> None:
    assert DATA.fingerprint == TextData(["4", "9"], ["2+2=", "3*3="]).fingerprint
    assert DATA.fingerprint != TextData(["4", "8"], ["2+2=", "3*3="]).fingerprint
    assert DATA.fingerprint != TextData(["4", "9"], ["2+2=", "3*3="], [["4", "5"], ["9", "6"]]).fingerprint
    assert DATA.fingerprint != TextData(["4", "9"]).fingerprint


def test_a_subset_keeps_its_order_and_its_choices() -> None:
    data = TextData(["a", "b", "c"], ["1", "2", "3"], [["a", "x"], ["b", "x"], ["c", "x"]])
    chosen = data.subset([2, 0])
    assert (chosen.responses, chosen.prompts, chosen.choices) == (
        ["c", "a"],
        ["3", "1"],
        [("c", "x"), ("a", "x")],
    )
    assert chosen.labels.tolist() == [0, 0]
    assert chosen.fingerprint == TextData(["c", "a"], ["3", "1"], [["c", "x"], ["a", "x"]]).fingerprint


def test_plain_text_is_all_response() -> None:
    assert TextData(["once upon a time"]).prompts == [""]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (([],), "a text data set is empty"),
        ((["a", " "], ["x", "y"]), "1 responses are empty (the first is sample 1)"),
        ((["a"], ["x", "y"]), "2 prompts but 1 responses"),
        ((["a"], ["x"], [["b", "c"]]), "2 choices hold the response 'a' 0 times"),
        ((["a"], ["x"], [["a"]]), "1 choices hold the response 'a' 1 times"),
        ((["a"], ["x"], []), "0 lists of choices but 1 responses"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(arguments: tuple, said: str) -> None:
    with pytest.raises(UserError) as caught:
        TextData(*arguments)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_an_experience_says_how_it_is_scored() -> None:
    experience = text_experience("sums", DATA, DATA, DATA)
    assert experience.scoring == Scoring("exact match") and experience.metric == "exact match"
    assert experience.labels is None
    with pytest.raises(UserError, match="multiple choice needs a list of choices"):
        text_experience("sums", DATA, DATA, DATA, "multiple choice")
    with pytest.raises(ValueError, match="decodes nothing"):
        Scoring("perplexity", max_new_tokens=3)
    (digits,) = load_stream("digits")
    assert digits.scoring is None
