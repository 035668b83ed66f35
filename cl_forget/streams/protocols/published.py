"""The protocols that are reported by name, with the lines of the tables that were published on them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cl_forget.streams.protocols.definition import Protocol, Published
from cl_forget.streams.protocols.vision import MTIL, TA8

TRANSFER = {"mtil_transfer": "Transfer", "mtil_avg": "Avg", "mtil_last": "Last"}
ZSCL = "Zheng et al. 2303.06628, tables 1, 2 and 10, as in mtil/results.ipynb of their code; CLIP ViT-B/16"
DPW = "Jang et al. (Dynamic Prefix Weighting), table 1, and by the authors of each method; CLIP ViT-B/16"
LADA = "Luo et al. (LADA, ICML 2025), table {}; CLIP ViT-B/16"
TRACE = "Wang et al. 2310.06762, tables 1 and 2"


def _line(
    method: str, source: str, names: Sequence[str], values: Sequence[float | None], tasks: Sequence[str] = ()
) -> Published:
    """A line of a table whose numbers are percentages; None is a gap of the table."""
    known = {name: value for name, value in zip(names, values, strict=False) if value is not None}
    last = {f"task:{name}": value for name, value in zip(tasks, values[len(names) :], strict=False)}
    return Published(
        method,
        source,
        {name: round(float(v) / 100, 6) for name, v in (known | last).items() if v is not None},
    )


def _mtil(order: int, text: str) -> tuple[Published, ...]:
    """Lines of "method: Transfer Avg Last, and the accuracies after the last task"."""
    lines = (line.partition(":") for line in text.strip().splitlines())
    return tuple(
        _line(method.strip(), ZSCL, list(TRANSFER), list(map(float, values.split())), MTIL[order])
        for method, _, values in lines
    )


MTIL_1 = """
Zero-shot: 69.4 65.3 65.3  24.3 88.4 68.2 44.6 54.9 71.0 88.5 59.4 89.0 64.7 65.2
Continual fine-tuning: 44.6 55.9 77.3  31.0 89.3 65.8 67.3 88.9 71.1 85.6 99.6 92.9 77.3 81.1
LwF: 56.9 64.7 74.6  26.3 87.5 71.9 66.6 79.9 66.9 83.8 99.6 92.1 66.1 80.4
iCaRL: 50.4 65.7 80.1  35.8 93.0 77.0 70.2 83.3 88.5 90.4 86.7 93.2 81.2 81.9
LwF-VR: 57.2 65.1 76.6  20.5 89.8 72.3 67.6 85.5 73.8 85.7 99.6 93.1 73.3 80.9
WiSE-FT: 52.3 60.7 77.7  27.2 90.8 68.0 68.9 86.9 74.0 87.6 99.6 92.6 77.8 81.3
ZSCL*: 62.2 72.6 84.5  46.0 92.3 81.2 72.4 93.0 92.1 90.8 99.6 93.3 86.6 81.7
ZSCL: 68.1 75.4 83.6  40.6 92.2 81.3 70.5 94.8 90.5 91.9 98.7 93.9 85.3 80.2
"""
MTIL_2 = """
Zero-shot: 65.4 65.3 65.3  64.7 88.5 59.4 89.0 71.0 65.2 24.3 88.4 44.6 54.9 68.2
Continual fine-tuning: 46.6 56.2 67.4  24.0 67.3 99.1 87.4 44.3 67.0 29.5 92.3 61.3 81.0 88.1
LwF: 53.2 62.2 71.9  34.6 69.6 99.3 88.7 61.1 72.5 32.5 88.1 65.6 90.9 87.9
iCaRL: 50.9 56.9 71.6  46.0 81.5 91.3 82.8 66.5 72.2 16.3 91.6 68.1 83.2 87.8
LwF-VR: 53.1 60.6 68.3  27.4 61.2 99.4 86.3 60.6 70.7 23.4 88.0 61.3 84.3 88.1
WiSE-FT: 51.0 61.5 72.2  35.6 76.9 99.5 89.1 62.1 71.8 27.8 90.8 67.0 85.6 87.6
ZSCL*: 59.8 71.8 83.3  63.5 89.6 99.2 92.4 84.5 78.3 55.2 92.4 74.6 97.4 88.6
ZSCL: 64.2 74.5 83.4  78.2 91.1 97.6 92.5 87.4 78.2 45.0 92.3 72.7 96.2 86.3
"""


def _x_tail(table: int, *lines: tuple[str, float | None, float, float]) -> tuple[Published, ...]:
    return tuple(_line(method, LADA.format(table), list(TRANSFER), values) for method, *values in lines)


TRACE_MEASURES = {"speciality": "OP", "bwt": "BWT", "general_ability_delta": "ΔRᴳ"}
TRACE_LINES = """
LLaMA-2-7B-Chat: 38.9  48.7 -8.3 -2.58  12.7 -45.7 -7.03  55.5 2.6 -2.31
LLaMA-2-13B-Chat: 41.9  49.9 -7.0 -13.32  28.0 -36.5 -7.78  56.6 0.4 -9.3
Vicuna-7B-V1.5: 42.2  49.2 -8.4 -2.77  33.4 -23.7 -5.13  55.3 0.2 -2.41
Vicuna-13B-V1.5: 46.9  51.7 -5.9 -9.27  31.6 -28.4 -6.18  56.9 0.6 -5.52
Baichuan2-7B-Instruct: 44.6  43.4 -15.4 -2.89  43.8 -9.0 -1.83  51.7 1.1 -2.93
"""


def _trace() -> Iterator[Published]:
    """Of each model: in-context learning, whose OP alone is known, then three ways to train."""
    names = list(TRACE_MEASURES)
    for line in TRACE_LINES.strip().splitlines():
        model, _, text = line.partition(":")
        shown, *trained = map(float, text.split())
        yield _line(f"ICL, {model}", TRACE, names, (shown,))
        for k, method in enumerate(("SeqFT", "LoraSeqFT", "Replay")):
            yield _line(f"{method}, {model}", TRACE, names, trained[3 * k : 3 * k + 3])


PROTOCOLS = {
    "mtil": Protocol(
        "MTIL",
        TRANSFER,
        {"order": 1},
        {
            (1,): (
                *_mtil(1, MTIL_1),
                _line("MoE-Adapters", DPW, list(TRANSFER), (68.9, 76.7, 85.0)),
                _line("DIKI", DPW, list(TRANSFER), (68.7, 76.3, 85.1)),
                _line("GIFT", DPW, list(TRANSFER), (69.3, 77.3, 86.0)),
            ),
            (2,): _mtil(2, MTIL_2),
        },
    ),
    "x-tail": Protocol(
        "X-TAIL",
        TRANSFER,
        {"order": 1, "shots": 16},
        {
            (1, 16): _x_tail(
                1,
                ("LwF", 47.7, 53.2, 62.8),
                ("WiSE-FT", 52.3, 54.2, 58.0),
                ("ZSCL", 59.0, 60.0, 63.4),
                ("MoE-Adapters", 56.0, 63.0, 70.5),
                ("Primal-RAIL", None, 71.1, 81.4),
                ("Dual-RAIL", None, 71.3, 82.3),
                ("LADA", 61.5, 72.7, 83.1),
            ),
            (1, None): _x_tail(
                2,
                ("ZSCL", 59.0, 64.5, 72.1),
                ("Primal-RAIL", None, 72.8, 84.0),
                ("LADA", 61.9, 75.2, 86.9),
            ),
            (2, 16): _x_tail(5, ("LADA", 56.7, 68.9, 83.3)),
            (2, None): _x_tail(6, ("LADA", 55.4, 69.2, 86.9)),
        },
    ),
    "ta8": Protocol(
        "TA8",
        {"mtil_last": "Average"},
        {},
        {
            (): (
                _line(
                    "MagMax",
                    "MagMax (Marczak et al. 2407.06322) after tuning in sequence, 2,500 steps a task; CLIP ViT-B/32",
                    ["mtil_last"],
                    (80.56, 71.74, 99.09, 96.67, 94.39, 85.59, 68.80, 58.99, 69.21),
                    TA8,
                ),
            )
        },
    ),
    "trace": Protocol("TRACE", TRACE_MEASURES, {}, {(): tuple(_trace())}),
    "retaining-by-doing": Protocol(
        "retaining by doing", {"speciality": "Target", "generality_drop": "Drop elsewhere"}
    ),
}
"""The name of a stream -> what it is reported by."""
