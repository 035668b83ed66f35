"""The frozen models of a simulation, run once per sample and shared by everything that reads them.

LDIFS, KD, LwF, FLOW, KL to base, probes, CKA and drift all compare with a model that no longer changes.
`FrozenModel` is that model, `FrozenCache` keeps its outputs on whole data sets on disk, and `FrozenOutputs`
hands the rows of a batch to the hooks of a task.
"""

from cl_forget.training.frozen._cache import FrozenCache
from cl_forget.training.frozen._model import FIELDS, FrozenModel
from cl_forget.training.frozen._outputs import FrozenOutputs, unit_rows
from cl_forget.training.frozen._said import answers_of
from cl_forget.training.frozen._teacher import Teacher, cut, teacher, teacher_fields

__all__ = [
    "FIELDS",
    "FrozenCache",
    "FrozenModel",
    "FrozenOutputs",
    "Teacher",
    "answers_of",
    "cut",
    "teacher",
    "teacher_fields",
    "unit_rows",
]
