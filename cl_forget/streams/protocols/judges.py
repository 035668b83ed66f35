"""How protocols judge free answers: by overlap with the reference, by an expression's value, by the final answer."""

from __future__ import annotations

import ast
import difflib
import operator
import re
from collections import Counter
from collections.abc import Callable, Sequence
from fractions import Fraction

_OPERATIONS: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
Ngrams = Counter[tuple[str, ...]]


def rouge_l(prompt: str, said: str, reference: str) -> float:
    """ROUGE-L (Lin 2004): F1 of the longest common subsequence of words."""
    ours, theirs = said.split(), reference.split()
    longest = [0] * (len(theirs) + 1)  # of the words so far, by how many of the reference's
    for word in ours:
        before = longest[:]
        for k, other in enumerate(theirs):
            longest[k + 1] = before[k] + 1 if word == other else max(longest[k], before[k + 1])
    return _f1(longest[-1], len(ours), len(theirs))


def _f1(common: float, ours: float, theirs: float) -> float:
    """Of precision common/ours and recall common/theirs."""
    return 2 * common / (ours + theirs) if common else 0.0


def edit_similarity(prompt: str, said: str, reference: str) -> float:
    """Twice the characters in matching blocks over all characters, literals of code written out.

    What TRACE takes of the lines of Py150, whose literals are masked as `<STR_LIT:text>`.
    """
    return difflib.SequenceMatcher(None, _with_literals(said), _with_literals(reference)).ratio()


def _with_literals(code: str) -> str:
    code = code.replace("<NUM_LIT>", "0").replace("<STR_LIT>", "").replace("<CHAR_LIT>", "")
    return re.sub(r"<(?:STR|NUM|CHAR)_LIT:(.*?)>", r"\1", code, flags=re.DOTALL)


def sari(prompt: str, said: str, reference: str) -> float:
    """SARI of a simplification, the prompt being what was to be simplified: `sari_of` one reference."""
    return sari_of(prompt, said, [reference])


def sari_of(source: str, said: str, references: Sequence[str]) -> float:
    """SARI (Xu et al. 2016, TACL 4:401-415): how well 1- to 4-grams are kept, deleted and added, from 0 to 1.

    Args:
        source: the text before.
        said: the text that a model made of it.
        references: good texts.
    """
    scores = []
    for n in range(1, 5):
        before, after = (_ngrams(text, n, len(references)) for text in (source, said))
        good = sum((_ngrams(text, n, 1) for text in references), Ngrams())
        scores += [_kept(before, after, good), _deleted(before, after, good), _added(before, after, good)]
    return sum(scores) / len(scores)


def _ngrams(text: str, n: int, times: int) -> Ngrams:
    words = re.findall(r"\w+|[^\w\s]", text.lower())
    counts = Counter(tuple(words[k : k + n]) for k in range(len(words) - n + 1))
    return Counter({ngram: times * count for ngram, count in counts.items()})


def _kept(before: Ngrams, after: Ngrams, good: Ngrams) -> float:
    kept, wanted = before & after, before & good
    right = kept & good
    precision = sum(right[g] / kept[g] for g in right) / len(kept) if kept else 1.0
    recall = right.total() / wanted.total() if wanted else 1.0
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _deleted(before: Ngrams, after: Ngrams, good: Ngrams) -> float:
    """Precision alone: the authors take no recall of deletions."""
    gone = before - after
    right = gone - good
    return sum(right[g] / gone[g] for g in right) / len(gone) if gone else 1.0


def _added(before: Ngrams, after: Ngrams, good: Ngrams) -> float:
    new, wanted = set(after) - set(before), set(good) - set(before)
    right = new & set(good)
    precision = len(right) / len(new) if new else 1.0
    recall = len(right) / len(wanted) if wanted else 1.0
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def first_letter(prompt: str, said: str, reference: str) -> bool:
    """Whether the answer begins with the reference's letter, whatever reasons follow."""
    return bool(reference.strip()) and said.strip()[:1] == reference.strip()[:1]


def countdown(prompt: str, said: str, reference: str) -> bool:
    """Whether an expression uses the reference's numbers, each as often, and comes to the same value."""
    ours, theirs = _value(_final(said)), _value(_final(reference))
    return ours is not None and ours == theirs


def _value(text: str) -> tuple[Fraction, list[int]] | None:
    """What an expression of whole numbers comes to, and the numbers in it, sorted; None of anything else."""
    text = text.partition("=")[0].replace("\\times", "*").replace("×", "*").replace("÷", "/")
    try:
        tree = ast.parse(text.strip(), mode="eval")
        numbers: list[int] = []
        value = _evaluated(tree.body, numbers)
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError, MemoryError):
        return None
    return value, sorted(numbers)


def _evaluated(node: ast.expr, numbers: list[int]) -> Fraction:
    if isinstance(node, ast.Constant) and type(node.value) is int:
        numbers.append(node.value)
        return Fraction(node.value)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATIONS:
        left, right = _evaluated(node.left, numbers), _evaluated(node.right, numbers)
        return _OPERATIONS[type(node.op)](left, right)
    raise ValueError("no expression of whole numbers")


def final_answer(prompt: str, said: str, reference: str) -> bool:
    """Whether the final answers are alike: what stands in the last box, or else in the last line."""
    return _plain(_final(said)) == _plain(_final(reference)) != ""


def _final(text: str) -> str:
    r"""What stands in the last \boxed{...}; without one, the last line."""
    start = text.rfind("\\boxed{")
    if start < 0:
        return (text.strip().splitlines() or [""])[-1]
    inside, depth = text[start + len("\\boxed{") :], 1
    for k, letter in enumerate(inside):
        depth += {"{": 1, "}": -1}.get(letter, 0)
        if depth == 0:
            return inside[:k]
    return inside


def _plain(answer: str) -> str:
    for mark in ("\\left", "\\right", "\\!", "\\,", "$", " "):
        answer = answer.replace(mark, "")
    return answer.replace("dfrac", "frac").replace("tfrac", "frac").rstrip(".")
