"""Where tasks and suites come from: one file per source, found by name.

A *spec* is what an experiment file says: a name (`digits`) or a name with its options
(`{folder: {path: pets}}`).
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_type_hints

from cl_forget.ground.errors import UserError, about
from cl_forget.ground.hints import own_data
from cl_forget.ground.registry import Registry, closest
from cl_forget.ground.section import as_written, is_number
from cl_forget.streams._choose import balanced, check_count, check_limit, check_shares
from cl_forget.streams.base import (
    DEFAULT_TEMPLATES,
    Data,
    Experience,
    ImageData,
    LabelSpace,
    hash_arrays,
)
from cl_forget.streams.scoring import Scoring
from cl_forget.streams.text import TextData, text_experience

__all__ = [
    "DEFAULT_TEMPLATES",
    "STREAMS",
    "SUITES",
    "Data",
    "Experience",
    "ImageData",
    "LabelSpace",
    "Scoring",
    "TextData",
    "balanced",
    "hash_arrays",
    "load_probes",
    "load_stream",
    "load_suite",
    "load_suites",
    "text_experience",
]

logger = logging.getLogger("cl_forget")

Spec = str | Mapping[str, Mapping[str, Any] | str | None]

#: Functions that give a list of experiences.
STREAMS = Registry(
    "stream",
    "cl_forget.streams",
    {
        "digits": "cl_forget.streams.digits:digits",
        "clocks": "cl_forget.streams.clocks:clocks",
        "letters": "cl_forget.streams.letters:letters",
        "greek": "cl_forget.streams.alphabets:greek",
        "cyrillic": "cl_forget.streams.alphabets:cyrillic",
        "georgian": "cl_forget.streams.alphabets:georgian",
        "arrows": "cl_forget.streams.symbols:arrows",
        "dice": "cl_forget.streams.symbols:dice",
        "dominoes": "cl_forget.streams.symbols:dominoes",
        "cards": "cl_forget.streams.symbols:cards",
        "braille": "cl_forget.streams.symbols:braille",
        "flags": "cl_forget.streams.flags:flags",
        "counting": "cl_forget.streams.pictures:counting",
        "colours": "cl_forget.streams.pictures:colours",
        "styles": "cl_forget.streams.styles:styles",
        "categories": "cl_forget.streams.categories:categories",
        "pig-latin": "cl_forget.streams.skills.new:pig_latin",
        "cipher": "cl_forget.streams.skills.new:cipher",
        "operator": "cl_forget.streams.skills.new:operator",
        "iso-dates": "cl_forget.streams.skills.new:iso_dates",
        "vowel-free": "cl_forget.streams.skills.new:vowel_free",
        "binary": "cl_forget.streams.skills.new:binary",
        "practice": "cl_forget.streams.skills.suites:practice",
        "new-skills": "cl_forget.streams.skills.new:new_skills",
        "records": "cl_forget.streams.chat.records:records",
        "folder": "cl_forget.streams.folder:folder",
        "images": "cl_forget.streams.image_tables:images",
        "captions": "cl_forget.streams.captions:captions",
        "torchvision": "cl_forget.streams.torchvision_sets:torchvision",
        "fashion-mnist": "cl_forget.streams.fashion:fashion_mnist",
        "idsprites": "cl_forget.streams.idsprites:idsprites",
        "mtil": "cl_forget.streams.protocols.vision:mtil",
        "x-tail": "cl_forget.streams.protocols.vision:x_tail",
        "ta8": "cl_forget.streams.protocols.vision:ta8",
        "trace": "cl_forget.streams.protocols.language:trace",
        "retaining-by-doing": "cl_forget.streams.protocols.language:retaining_by_doing",
        "avalanche": "cl_forget.avalanche.benchmarks:avalanche",
        "jsonl": "cl_forget.streams.text_files:jsonl",
        "csv": "cl_forget.streams.text_files:csv",
        "datasets": "cl_forget.streams.text_files:datasets",
    },
)

#: Functions that give one experience to measure generality on, or several that are measured together.
SUITES = Registry(
    "suite",
    "cl_forget.suites",
    {
        "emoji": "cl_forget.streams.emoji_suites:emoji",
        "emoji-unseen-styles": "cl_forget.streams.emoji_suites:emoji_unseen_styles",
        "emoji-held-out-concepts": "cl_forget.streams.emoji_suites:emoji_held_out_concepts",
        "emoji-groups": "cl_forget.streams.emoji_suites:emoji_groups",
        "captions": "cl_forget.streams.captions:caption_suite",
        "agreement": "cl_forget.streams.agreement:agreement",
        "photographs": "cl_forget.streams.photographs:photographs",
        "lm-eval": "cl_forget.streams.harness:lm_eval",
        "numbers": "cl_forget.streams.skills.suites:numbers",
        "spelling": "cl_forget.streams.skills.suites:spelling",
        "facts": "cl_forget.streams.skills.suites:facts",
        "instructions": "cl_forget.streams.skills.formats:instructions",
        "stories": "cl_forget.streams.skills.prose:stories",
        "skill": "cl_forget.streams.skills.suites:skill",
        "following": "cl_forget.streams.chat.following:following",
        "common-facts": "cl_forget.streams.chat.questions:common_facts",
        "mental-arithmetic": "cl_forget.streams.chat.questions:mental_arithmetic",
        "english": "cl_forget.streams.chat.questions:english",
        "suite-set": "cl_forget.streams.protocols.language:suite_set",
    },
)

_in_memory: dict[str, list[Experience]] = {}  # what is held in memory anyway is made once per process


def load_stream(spec: Spec | Sequence[Spec]) -> list[Experience]:
    """The experiences of a stream, in order.

    Args:
        spec: a registered name, `{name: options}`, or a list of these, whose experiences are concatenated.

    Raises:
        UserError: unknown name or option, an option of the wrong type, two experiences of one name, or data
            that cannot be read.
    """
    specs = [spec] if isinstance(spec, (str, Mapping)) else list(spec)
    experiences: dict[str, Experience] = {}
    for one in specs:
        with about(one):
            for experience in _build(STREAMS, one):
                if experience.name in experiences:
                    raise UserError(
                        f"two experiences of the stream are called '{experience.name}': list it once, or give one "
                        "another name with the option `name:`."
                    )
                experiences[experience.name] = experience
    if not experiences:
        raise UserError(f"the stream is empty: name at least one of {', '.join(STREAMS)}.")
    return list(experiences.values())


def load_suite(spec: Spec) -> Experience:
    """One suite; a stream with a single experience (`digits`, a folder) serves as a suite, too.

    Args:
        spec: a registered name of a suite or a stream, or `{name: options}`.

    Raises:
        UserError: as `load_stream`, or a stream or a set of several experiences.
    """
    with about(spec):
        name, _ = _parse(SUITES.kind, spec)
        if name in SUITES or name not in STREAMS:
            suites = _build(SUITES, spec)
            if len(suites) > 1:
                raise UserError(
                    f"'{name}' is a set of {len(suites)} suites, and one is asked for here: name one."
                )
            return suites[0]
        experiences = _build(STREAMS, spec)
        if len(experiences) > 1:
            raise UserError(
                f"stream '{name}' has {len(experiences)} experiences and a suite is one: "
                f"choose one of {', '.join(SUITES)}, or a stream of one task."
            )
        return experiences[0]


def load_suites(specs: Sequence[Spec]) -> list[Experience]:
    """Every suite that is named; a set of suites (`{suite-set: post-forget}`) gives all of its own.

    Raises:
        UserError: as `load_suite`.
    """
    suites: list[Experience] = []
    for spec in specs:
        with about(spec):
            name, _ = _parse(SUITES.kind, spec)
            suites += _build(SUITES, spec) if name in SUITES else [load_suite(spec)]
    return suites


def load_probes(specs: Sequence[Spec]) -> list[Experience]:
    """The tasks linear probes are fitted on: suites that have training data, or streams.

    Raises:
        UserError: as `load_stream`, or a suite without training data.
    """
    probes: list[Experience] = []
    for spec in specs:
        with about(spec):
            suite = _parse(SUITES.kind, spec)[0] in SUITES
            found = load_suites([spec]) if suite else load_stream(spec)
            for probe in found:
                lacks = (
                    "training data" if probe.train is None else "classes" if probe.labels is None else None
                )
                if lacks:
                    raise UserError(f"'{probe.name}' has no {lacks} to fit a probe on; list it under suites.")
        probes += found
    return probes


def _parse(kind: str, spec: Spec) -> tuple[str, dict[str, Any] | str]:
    """The name and the options of a spec; a text alone is the first option, as in `{suite-set: post-forget}`."""
    if isinstance(spec, str):
        return spec, {}
    if not isinstance(spec, Mapping) or len(spec) != 1:
        raise UserError(f"a {kind} is written as a name, or as one name with its options, not as {spec!r}.")
    name, options = next(iter(spec.items()))
    if isinstance(options, str):
        return str(name), options
    if options is not None and not isinstance(options, Mapping):
        raise UserError(
            f"the options of {kind} '{name}' must be a mapping of names to values, not {options!r}."
        )
    return str(name), dict(options or {})


def check_stream(spec: Spec) -> None:
    """Refuse an entry of a stream that `load_stream` would refuse by its name or its options; no data are read.

    Raises:
        UserError: unknown name or option, or an option of the wrong type.
    """
    function, what, options = _asked(STREAMS, spec)
    _call(function, what, options, only_check=True)


def check_suite(spec: Spec) -> None:
    """`check_stream` of a suite, which may be a stream as well."""
    name, _ = _parse(SUITES.kind, spec)
    function, what, options = _asked(STREAMS if name in STREAMS and name not in SUITES else SUITES, spec)
    _call(function, what, options, only_check=True)


def check_probe(spec: Spec) -> None:
    """`check_stream` of a probe, which may be a suite as well."""
    (check_suite if _parse(SUITES.kind, spec)[0] in SUITES else check_stream)(spec)


def _asked(registry: Registry, spec: Spec) -> tuple[Callable[..., Any], str, dict[str, Any]]:
    """What builds the data that a spec names, what these are called in messages, and the options."""
    name, options = _parse(registry.kind, spec)
    if registry is STREAMS and name not in STREAMS and name in SUITES:
        raise UserError(f"'{name}' is a suite, with nothing to train on: list it under `suites`.")
    if name not in registry and (
        hint := own_data(name, [*SUITES, *STREAMS] if registry is SUITES else [*STREAMS])
    ):
        raise UserError(f"unknown {registry.kind} '{name}'.{hint} Known: {', '.join(registry.names())}.")
    function = registry.get(name)
    if isinstance(options, str):
        if not (known := _known(function)):
            raise UserError(f"{registry.kind} '{name}' has no options: write its name alone.")
        options = {known[0]: options}
    return function, f"{registry.kind} '{name}'", options


def _build(registry: Registry, spec: Spec) -> list[Experience]:
    function, what, options = _asked(registry, spec)
    key = repr((what, sorted(options.items())))
    if key not in _in_memory:
        built = _call(function, what, options)
        experiences = [built] if isinstance(built, Experience) else list(built)
        if not all(_is_in_memory(experience) for experience in experiences):
            return experiences  # files may change between two runs of one process
        _in_memory[key] = experiences
    return list(_in_memory[key])


def _is_in_memory(experience: Experience) -> bool:
    return all(data.in_memory for data in experience.splits().values())


def _call(function: Callable[..., Any], what: str, options: dict[str, Any], only_check: bool = False) -> Any:
    """`function(**options)` with names and types checked against its signature, in one line where wrong.

    Args:
        function: builds data.
        what: it is called in messages.
        options: its arguments.
        only_check: do not call it.
    """
    from pydantic import ValidationError, validate_call

    source, known = _options_of(function), _known(function)
    for option in options:
        if option not in known:
            joined = str(option).partition(":")[0]  # {path:data}, which YAML reads as one word
            hint = f" Write a space after '{joined}:'." if joined in known else closest(option, known)
            raise UserError(f"{what} has no option '{option}'.{hint} Options: {', '.join(known)}.")
    for option in ("path", "root"):
        if (
            isinstance(options.get(option), str) and not options[option].strip()
        ):  # else it is the working directory
            raise UserError(f"{what}, option '{option}' is empty: name a file or folder.")
    kinds = _kinds(function, source)
    options = _as_written(kinds, what, options)
    _check_amounts(kinds, what, options)
    try:
        if only_check:
            function = functools.wraps(function)(lambda *_, **__: None)  # of the same signature
        return function(source(**options)) if source else validate_call(function)(**options)
    except ValidationError as error:
        first = error.errors()[0]
        option = str(first["loc"][0])
        if first["type"].startswith("missing"):
            raise UserError(f"{what} needs the option '{option}'. Options: {', '.join(known)}.") from None
        message = first["msg"].removeprefix("Input ").replace("valid tuple", "list")  # YAML's word
        raise UserError(f"{what}, option '{option}' {message}, not {first['input']!r}.") from None


def _check_amounts(kinds: dict[str, Any], what: str, options: dict[str, Any]) -> None:
    """Refuse a number of samples that is none, and a fraction that is none: no data are needed to see it."""
    if isinstance(limit := options.get("limit"), int):
        check_limit(limit, f"{what}: ")
    for option in ("train", "held_out", "validation", "test"):
        amount = options.get(option)
        if kinds.get(option) is int and isinstance(amount, int):
            check_count(option, amount, f"{what}: ")
        elif (
            kinds.get(option) is float and isinstance(amount, (int, float)) and amount
        ):  # 0: has a split of its own
            check_shares(what, {option: amount})


def _known(function: Callable[..., Any]) -> list[str]:
    """The names of a function's options, in order."""
    source = _options_of(function)
    return list(source.model_fields if source else inspect.signature(function).parameters)


def _options_of(function: Callable[..., Any]) -> Any:
    """The class that holds a function's options, where it takes them as one object; else None."""
    from pydantic import BaseModel

    try:
        parameters = list(inspect.signature(function, eval_str=True).parameters.values())
    except NameError:  # annotations that only a type checker can resolve
        return None
    kind = parameters[0].annotation if len(parameters) == 1 else None
    return kind if inspect.isclass(kind) and issubclass(kind, BaseModel) else None


def _kinds(function: Callable[..., Any], source: Any) -> dict[str, Any]:
    """Option -> its type."""
    if source is not None:
        return {name: field.annotation for name, field in source.model_fields.items()}
    try:
        return get_type_hints(function, include_extras=True)
    except NameError:  # annotations that only a type checker can resolve
        return {}


def _as_written(kinds: dict[str, Any], what: str, options: dict[str, Any]) -> dict[str, Any]:
    """The options with numbers read as what they are; true is no number, and an empty path no folder."""
    found = {}
    for option, value in options.items():
        try:
            found[option] = as_written(value, kinds.get(option, Any))
        except ValueError as error:
            if not is_number(value):
                raise UserError(f"{what}, option '{option}' {error}, not {value!r}.") from None
            logger.info("%s, option '%s': '%s' is read as a number.", what, option, value)
            found[option] = value
    return found
