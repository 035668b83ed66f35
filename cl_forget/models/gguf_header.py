"""The header of a GGUF file, checked before transformers makes a model of it.

Where a field is missing transformers takes that of a model of billions of parameters, and builds it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cl_forget.ground.errors import UserError

_FIELDS = ("block_count", "embedding_length", "feed_forward_length", "attention.head_count")
"""Fields that say how large the model is, below its architecture's name."""


def check_gguf(file: Path) -> None:
    """Refuse a file whose header does not say how large the model is, or says another size than its tensors have.

    Raises:
        UserError: it is cut short, no GGUF file, or as above.
    """
    from gguf import GGUFReader

    try:
        reader: Any = GGUFReader(file)
        architecture = str(reader.fields["general.architecture"].contents())
        sizes = {name: reader.fields[f"{architecture}.{name}"].contents() for name in _FIELDS}
        tensors = [tuple(int(size) for size in tensor.shape) for tensor in reader.tensors]
        largest = max((size for shape in tensors for size in shape), default=0)
        limits = {"block_count": len(tensors)}
        wrong = [
            name
            for name, value in sizes.items()
            if not all(
                0 < one <= limits.get(name, largest)
                for one in (value if isinstance(value, list) else [value])
            )
        ]
    except Exception as error:  # whatever the reader meets in a header of random bytes
        first = (str(error).splitlines() or [""])[0]
        raise UserError(
            f"{file} is not a whole GGUF file ({type(error).__name__}: {first}); download it again."
        ) from None
    if wrong:
        raise UserError(
            f"{file} says {wrong[0]} {sizes[wrong[0]]}, which does not fit its tensors; download it again."
        )
