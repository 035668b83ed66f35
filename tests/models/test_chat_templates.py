"""What a chat template makes of prompts and responses: the target is the answer and its end, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from chat_tokenizers import USER_ONLY, form

from cl_forget.ground.errors import UserError
from cl_forget.models._texts import TextFormat
from cl_forget.models.options import TextOptions
from cl_forget.streams.text import Join, TextData

SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": "What is the capital of France?"}
ASKED = "What is the capital of France?"


def parts(format: TextFormat, prompt: Any, response: str, join: Join = Join()) -> tuple[str, str]:  # noqa: B008
    """Prompt and target as text; the prompt is what decoding starts from."""
    table = format.encode([prompt], [response], join)
    ids, start = table.sample(0).tolist(), int(table.response[0])
    assert format.prompt_ids(prompt, join) == ids[:start]
    head, tail = (
        format.tokenizer.decode(own, skip_special_tokens=False) for own in (ids[:start], ids[start:])
    )
    return head, tail


ENDS = {
    "qwen3": "<|im_end|>", "llama3": "<|eot_id|>", "gemma": "<end_of_turn>", "mistral": "</s>",
    "harmony": "<|return|>", "user only": "</s>",
}  # fmt: skip


@pytest.mark.parametrize("kind", ENDS)
def test_the_target_is_the_answer_and_the_token_that_ends_its_turn(kind: str) -> None:
    format = form(kind)
    head, tail = parts(format, ASKED, "Paris")
    assert tail.strip() == "Paris" + ENDS[kind] and ASKED in head
    (end,) = format.tokenizer.convert_tokens_to_ids([ENDS[kind]])
    assert end in format.ends  # decoding stops there


def test_a_space_before_an_answer_is_part_of_its_first_token() -> None:
    for kind, target in (("llama2", " Paris </s>"), ("mistral", " Paris</s>")):
        format = form(kind)
        head, tail = parts(format, ASKED, "Paris")
        assert head.endswith("[/INST]") and tail == target
        table = format.encode([ASKED], ["Paris"])
        assert "ĠParis" in format.tokenizer.convert_ids_to_tokens(table.sample(0).tolist())


def test_an_empty_thought_is_given_and_not_scored() -> None:
    head, tail = parts(form("qwen3"), ASKED, "Paris")
    assert head.endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n") and tail == "Paris<|im_end|>"
    said_so = form("qwen3", template_arguments={"enable_thinking": False})
    assert parts(said_so, ASKED, "Paris") == (head, tail)
    assert form("harmony").template.before == "<|channel|>final<|message|>"


def test_reasoning_in_the_responses_takes_the_place_of_the_empty_thought() -> None:
    data = TextData(["<think>\nIt is Paris.\n</think>\n\nParis", "Rome"], [ASKED, "And of Italy?"])
    format = form("qwen3")
    head, tail = parts(format, data.prompts[0], data.responses[0], data.join)
    assert head.endswith("assistant\n") and tail == "<think>\nIt is Paris.\n</think>\n\nParis<|im_end|>"
    assert parts(format, data.prompts[1], "Rome", data.join)[1] == "<think>\n\n</think>\n\nRome<|im_end|>"


def said(kind: str, prompt: Any, response: str = "Paris", **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        form(kind, **options).encode([prompt], [response])
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_a_template_refuses_is_said_with_the_cure() -> None:
    for kind in ("gemma", "mistral"):
        assert "put the system text at the beginning of the first user turn" in said(kind, [SYSTEM, USER])
        assert "refuses two turns of one role in a row" in said(kind, [USER, USER])
    assert "System role not supported" in said("gemma", [SYSTEM, USER])
    # Both at once: neither alone is the reason.
    assert "refuses this conversation of system, user, user" in said("gemma", [SYSTEM, USER, USER])
    prompts = [[SYSTEM, USER]] * 3 + [[USER]]
    with pytest.raises(UserError, match=r"sample 0: .* \(3 of 4 samples are so\)\."):
        form("gemma").encode(prompts, ["Paris"] * 4)


def test_nothing_is_left_out_in_silence() -> None:
    assert "leaves out the system turn" in said("user only", [SYSTEM, USER])
    result = {"role": "tool", "content": "Two million."}
    assert "leaves out the tool turn" in said("user only", [USER, result])
    assert "shows nothing of the prompt" in said("user only", [{**result, "content": " "}])
    words = form("qwen3").tokenizer
    words.chat_template = words.chat_template.replace(
        "message.content + '<|im_end|>'", "(message.content | replace(' /no_think', '')) + '<|im_end|>'"
    )
    switched = {"role": "user", "content": "What is the capital of France? /no_think"}
    assert "France?<|im_end|>" in parts(TextFormat(words, TextOptions(), None, (1,)), [switched], "Paris")[0]
    call = {"type": "function", "function": {"name": "look_up", "arguments": {"city": "Paris"}}}
    called = [
        USER,
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "2 M"},
    ]
    assert "leaves out tool calls" in said("llama3", called)
    head, _ = parts(form("qwen3"), called, "Two million.")
    assert '{"name": "look_up", "arguments": {"city": "Paris"}}' in head and "<tool_response>2 M" in head


def test_definitions_of_tools_reach_the_template() -> None:
    tool = {
        "type": "function",
        "function": {"name": "look_up", "parameters": {"type": "object", "properties": {}}},
    }
    head, _ = parts(form("qwen3"), [{**USER, "tools": [tool]}], "Paris")
    assert '<tools>\n{"type": "function", "function": {"name": "look_up"' in head
    assert "leaves out the definitions of tools" in said("llama3", [{**USER, "tools": [tool]}])


def test_a_template_whose_prompt_is_not_the_beginning_of_the_whole_is_refused() -> None:
    message = said("r1", ASKED)
    assert "begins an answer with" in message and "or text.chat=false" in message


def test_a_template_may_trim_but_not_change_an_answer() -> None:
    assert parts(form("llama3"), ASKED, " Paris\n")[1] == "Paris<|eot_id|>"
    words = form("user only").tokenizer
    for change, expected in (("upper", "does not show"), ("replace('a', 'o')", "changes the answer 'Paris'")):
        words.chat_template = USER_ONLY.replace("m.content }}</s>", f"m.content | {change} }}}}</s>")
        with pytest.raises(UserError, match=expected):
            TextFormat(words, TextOptions(), None, (1,)).encode([ASKED], ["Paris"])


def test_template_arguments_are_known_ones() -> None:
    assert "no 'enable_thinkng'. Did you mean 'enable_thinking'?" in said(
        "qwen3", ASKED, template_arguments={"enable_thinkng": False}
    )
    assert "'tokenize' is not for you to give" in said("qwen3", ASKED, template_arguments={"tokenize": True})
    assert "has no chat template" in said("none", ASKED, template_arguments={"enable_thinking": False})
    one, two = form("qwen3"), form("qwen3", template_arguments={"enable_thinking": False})
    assert one.key != two.key


def test_the_date_does_not_change_from_day_to_day() -> None:
    assert "Today Date: 26 Jul 2024" in parts(form("llama3"), ASKED, "Paris")[0]
    dated = form("llama3", template_arguments={"date_string": "01 Jan 2020"})
    assert "Today Date: 01 Jan 2020" in parts(dated, ASKED, "Paris")[0]


# -- base models ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("space", ["", " ", "  "])
def test_a_space_is_part_of_the_first_word_of_the_answer(space: str) -> None:
    format, prompt = form("none"), "Question: What?\nAnswer:" + space
    head, tail = parts(format, prompt, "Paris", Join(None))
    assert head == "Question: What?\nAnswer:" and tail.lstrip() == "Paris</s>" and tail.startswith(" ")
    if len(space) < 2:
        table = format.encode([prompt], ["Paris"], Join(None))
        assert format.tokenizer.convert_ids_to_tokens(table.sample(0))[-2:] == ["ĠParis", "</s>"]


def test_what_stands_between_prompt_and_answer() -> None:
    format = form("none")
    assert parts(format, "Answer:\n", "Paris", Join(None)) == ("Answer:\n", "Paris</s>")
    assert parts(format, "The sky is", " blue.", Join(None)) == ("The sky is", " blue.</s>")
    assert parts(format, "首都是", "巴黎", Join(None)) == ("首都是", "巴黎</s>")
    assert parts(format, "### Response:", "Paris", Join("\n")) == ("### Response:\n", "Paris</s>")
    assert parts(format, "2+2=", "4", Join("")) == ("2+2=", "4</s>")
    assert parts(format, "2+2=", "4") == ("2+2=", "4</s>")  # data made in Python say what they mean


def test_choices_are_put_behind_their_prompts_as_the_answer_is() -> None:
    import tiny_lm

    from cl_forget.streams import text_experience

    model = tiny_lm.tiny_lm()
    data = TextData(["a", "b"], ["pick:", "take:"], [["a", "b"], ["a", "b"]], separator=None)
    prepared = model.prepare(data, text_experience("c", None, data, data, "multiple choice"), "test")
    table, _ = prepared.wrong_choices()
    decode = model.form.tokenizer.decode
    assert [decode(table.sample(i)) for i in range(2)] == ["<s>pick: b</s>", "<s>take: a</s>"]
    assert decode(prepared.table.sample(0)) == "<s>pick: a</s>"
    assert data.fingerprint != TextData(["a", "b"], ["pick:", "take:"], [["a", "b"], ["a", "b"]]).fingerprint
    assert data.subset([1]).separator is None


# -- shown before a run --------------------------------------------------------------------------------


def test_a_sample_is_shown_with_its_special_tokens() -> None:
    import tiny_lm

    (task,) = tiny_lm.sums(1)
    lines = tiny_lm.tiny_lm(chat=True).see(task).lines
    assert lines[0].startswith("first prompt of train (") and lines[0].endswith("=</s><|assistant|>")
    assert lines[1] == f"its target (2 tokens): {task.train.responses[0]}</s>"
    assert "of 64 that fit; none truncated" in lines[2]
    short = tiny_lm.tiny_lm(TextOptions(max_length=8, too_long="truncate"))
    assert "samples truncated (" in short.see(task).lines[2]
    from tiny import experience

    assert short.see(experience("squares", 1)).lines == []


def test_what_a_template_adds_is_said_and_what_it_refuses_is_found_before_training() -> None:
    from types import SimpleNamespace

    from cl_forget.models._samples import render_sample
    from cl_forget.streams import text_experience

    good = TextData(["Paris", "Rome"], [ASKED, "And of Italy?"])
    bad = TextData(["Paris", "Rome"], [[USER], [SYSTEM, USER]])
    model: Any = SimpleNamespace(form=form("qwen3"))
    lines = render_sample(model.form, text_experience("t", good, good, good))
    assert any("puts <think>\\n\\n</think>\\n\\n before an answer" in line for line in lines)
    model = SimpleNamespace(form=form("gemma"))
    with pytest.raises(
        UserError, match="experience 't', train: sample 1: the chat template refuses the system role"
    ):
        render_sample(model.form, text_experience("t", bad, good, good))
    model = SimpleNamespace(form=form("llama3"))
    assert "told 26 Jul 2024" in render_sample(model.form, text_experience("t", good, good, good))[-1]
