"""Streams and suites by name: specs, options, messages, sharing within a process."""

from pathlib import Path

import numpy as np
import pytest

from cl_forget.ground.errors import UserError
from cl_forget.streams import STREAMS, SUITES, Experience, ImageData, LabelSpace, load_stream, load_suite


def one_task(size: int = 4, name: str = "made") -> list[Experience]:
    array = np.arange(size * 12, dtype=np.uint8).reshape(size, 3, 2, 2)
    data = ImageData([0] * size, array=array)
    return [Experience(name, LabelSpace("made", ("a", "b")), data, data, data)]


@pytest.fixture(autouse=True)
def _registered() -> None:
    STREAMS.add("made", f"{__name__}:one_task")


def message(spec: object, load: object = load_stream) -> str:
    with pytest.raises(UserError) as caught:
        load(spec)  # type: ignore[operator]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_name_options_and_lists() -> None:
    assert [e.name for e in load_stream("made")] == ["made"]
    assert len(load_stream({"made": {"size": 7}})[0].test) == 7
    assert len(load_stream({"made": None})[0].test) == 4
    assert len(load_stream({"made": {"size": "5"}})[0].test) == 5
    both = load_stream(["made", {"made": {"name": "second"}}])
    assert [e.name for e in both] == ["made", "second"]


def test_what_is_in_memory_is_made_once() -> None:
    first, again = load_stream({"made": {"size": 3}}), load_stream({"made": {"size": 3}})
    assert first is not again  # the list belongs to the caller
    assert first[0] is again[0]
    assert load_stream({"made": {"size": 2}})[0] is not first[0]


def test_a_stream_of_one_task_is_a_suite() -> None:
    assert load_suite("made").name == "made"
    assert load_suite({"emoji": {"limit": 3}}).train is None
    assert "stream 'styles' has 5 experiences and a suite is one" in message("styles", load_suite)


def test_wrong_specs_are_said_in_one_line() -> None:
    assert "unknown stream 'digts'. Did you mean 'digits'? Known: digits, clocks" in message("digts")
    assert "'emoji' is a suite, with nothing to train on: list it under `suites`" in message("emoji")
    assert "unknown suite 'emojis'. Did you mean 'emoji'?" in message("emojis", load_suite)
    assert "is written as a name, or as one name with its options" in message({"digits": {}, "clocks": {}})
    assert "is written as a name" in message([3])
    assert "options of stream 'digits' must be a mapping" in message({"digits": [1]})
    assert "the stream is empty: name at least one of digits" in message([])
    assert "two experiences of the stream are called 'made'" in message(["made", "made"])


def test_wrong_options_are_said_in_one_line() -> None:
    assert message({"made": {"siez": 3}}) == (
        "stream 'made' has no option 'siez'. Did you mean 'size'? Options: size, name."
    )
    assert "no option 'size:3'. Write a space after 'size:'." in message({"made": {"size:3": None}})
    assert "stream 'made', option 'size' should be a valid integer" in message({"made": {"size": "many"}})
    assert "suite 'emoji', option 'limit' should be a valid integer" in message(
        {"emoji": {"limit": [1]}}, load_suite
    )
    assert "limit is a number of samples, at least 1, not -1" in message({"digits": {"limit": -1}})
    assert "unknown emoji style 'nooto'. Did you mean 'noto'?" in message({"styles": {"order": ["nooto"]}})
    assert "name each emoji style once" in message({"styles": {"order": ["noto", "noto"]}})
    assert "at least one of people, nature" in message({"categories": {"order": []}})
    assert "unknown unseen style 'noto'" in message({"emoji-unseen-styles": {"styles": ["noto"]}}, load_suite)


def test_every_registered_source_has_a_description() -> None:
    for registry in (STREAMS, SUITES):
        for name in registry._builtin:
            assert len(registry.get(name).__doc__.splitlines()[0]) < 110, name


def test_naming_the_sources_imports_nothing_heavy() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from cl_forget.streams import STREAMS, SUITES; STREAMS.names(), SUITES.names();"
        "print(sorted({'torch', 'numpy', 'sklearn', 'matplotlib', 'torchvision'} & set(sys.modules)))"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == "[]"
