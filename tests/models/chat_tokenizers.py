# ruff: noqa: E501
"""Tokenizers with the chat templates that people meet: Qwen3's, Llama 3's, Gemma's, Mistral's, R1's, gpt-oss's.

The templates are those of the hub, shortened to the parts that decide what stands before and after an answer.
"""

from __future__ import annotations

from typing import Any

from cl_forget.models._texts import TextFormat
from cl_forget.models.options import TextOptions

QWEN3 = """\
{%- if tools %}{{- '<|im_start|>system\\n<tools>' }}{%- for tool in tools %}{{- "\\n" }}{{- tool | tojson }}{%- endfor %}
{{- "\\n</tools><|im_end|>\\n" }}{%- endif %}
{%- if messages[0].role == 'system' %}{{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}{%- endif %}
{%- set ns = namespace(last=messages|length - 1, seek=true) %}
{%- for message in messages[::-1] %}{%- set index = (messages|length - 1) - loop.index0 %}
{%- if ns.seek and message.role == "user" %}{%- set ns.seek = false %}{%- set ns.last = index %}{%- endif %}{%- endfor %}
{%- for message in messages %}
{%- if message.role == "user" or (message.role == "system" and not loop.first) %}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
{%- elif message.role == "assistant" %}
{%- set content = message.content %}{%- set reasoning = '' %}
{%- if '</think>' in content %}
{%- set reasoning = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
{%- set content = content.split('</think>')[-1].lstrip('\\n') %}
{%- endif %}
{%- if loop.index0 > ns.last and (loop.last or reasoning) %}
{{- '<|im_start|>assistant\\n<think>\\n' + reasoning.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
{%- else %}{{- '<|im_start|>assistant\\n' + content }}{%- endif %}
{%- for call in message.tool_calls or [] %}
{{- '<tool_call>' }}{{- {"name": call.function.name, "arguments": call.function.arguments} | tojson }}{{- '</tool_call>' }}
{%- endfor %}{{- '<|im_end|>\\n' }}
{%- elif message.role == "tool" %}
{{- '<|im_start|>user\\n<tool_response>' + message.content + '</tool_response><|im_end|>\\n' }}
{%- endif %}{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}
{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}{%- endif %}"""

LLAMA3 = """\
{{- bos_token }}{%- if not date_string is defined %}{%- set date_string = strftime_now("%d %b %Y") %}{%- endif %}
{%- if messages[0]['role'] == 'system' %}{%- set system = messages[0]['content']|trim %}{%- set messages = messages[1:] %}
{%- else %}{%- set system = '' %}{%- endif %}
{{- '<|start_header_id|>system<|end_header_id|>\\n\\nToday Date: ' + date_string + '\\n\\n' + system + '<|eot_id|>' }}
{%- for message in messages %}
{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}"""

GEMMA = """\
{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}
{%- for message in messages %}
{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}
{%- set role = 'model' if message['role'] == 'assistant' else message['role'] %}
{{- '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}{% endfor %}
{%- if add_generation_prompt %}{{- '<start_of_turn>model\\n' }}{% endif %}"""

MISTRAL = """\
{{- bos_token }}{%- for message in messages %}
{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
{{- raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{%- endif %}
{%- if message['role'] == 'user' %}{{- '[INST] ' + message['content'] + ' [/INST]' }}
{%- elif message['role'] == 'assistant' %}{{- ' ' + message['content'] + eos_token }}
{%- else %}{{- raise_exception('Only user and assistant roles are supported!') }}{%- endif %}{%- endfor %}"""

R1 = """\
{{- bos_token }}{%- for message in messages %}{%- if message['role'] == 'user' %}{{- '<|User|>' + message['content'] }}
{%- else %}{{- '<|Assistant|>' + message['content'].split('</think>')[-1] + eos_token }}{%- endif %}{%- endfor %}
{%- if add_generation_prompt %}{{- '<|Assistant|><think>\\n' }}{%- endif %}"""

HARMONY = """\
{%- for message in messages %}{%- if message.role == 'assistant' %}
{{- '<|start|>assistant<|channel|>final<|message|>' + message.content + '<|return|>' }}
{%- else %}{{- '<|start|>' + message.role + '<|message|>' + message.content + '<|end|>' }}{%- endif %}{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start|>assistant' }}{%- endif %}"""

USER_ONLY = (
    "{% for m in messages %}{% if m.role == 'user' %}[{{ m.content }}]{% elif m.role == 'assistant' %}{{ m.content }}</s>"
    "{% endif %}{% endfor %}"
)

LLAMA2 = """\
{%- for message in messages %}
{%- if message['role'] == 'user' %}{{- bos_token + '[INST] ' + message['content'] | trim + ' [/INST]' }}
{%- elif message['role'] == 'assistant' %}{{- ' ' + message['content'] | trim + ' ' + eos_token }}{%- endif %}
{%- endfor %}"""

TEMPLATES = {
    "llama2": (LLAMA2, "</s>", ()),
    "qwen3": (QWEN3, "<|im_end|>", ("<|im_start|>",)),
    "llama3": (LLAMA3, "<|end_of_text|>", ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")),
    "gemma": (GEMMA, "<eos>", ("<start_of_turn>", "<end_of_turn>")),
    "mistral": (MISTRAL, "</s>", ("[INST]", "[/INST]")),
    "r1": (R1, "<|end|>", ("<|User|>", "<|Assistant|>")),
    "harmony": (HARMONY, "<|return|>", ("<|start|>", "<|channel|>", "<|message|>", "<|end|>")),
    "user only": (USER_ONLY, "</s>", ()),
    "none": (None, "</s>", ()),
}
CORPUS = [
    "Question: What is the capital of France?\nAnswer: Paris\n",
    " Paris Paris user system think",
    " b b",
] * 9


def bpe(kind: str) -> Any:
    """A byte-level BPE with its words' spaces inside the tokens, as GPT-2, Llama 3 and Qwen have them."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    template, end, others = TEMPLATES[kind]
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    raw.train_from_iterator(
        [*CORPUS, " b"] * 3,
        trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False),
    )
    special = {"bos_token": "<bos>", "eos_token": end, "additional_special_tokens": list(others)}
    words = PreTrainedTokenizerFast(tokenizer_object=raw, **special)
    words.chat_template = template
    return words


def form(kind: str, **options: Any) -> TextFormat:
    """How a model with that template reads texts."""
    words = bpe(kind)
    return TextFormat(words, TextOptions(**options), None, (words.eos_token_id,))
