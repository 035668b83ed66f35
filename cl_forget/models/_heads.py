"""The linear heads of tasks: what they are called, and how they are made."""

from __future__ import annotations

from urllib.parse import quote

import torch
from torch import Tensor, nn

from cl_forget.ground.errors import UserError
from cl_forget.streams.base import Experience, LabelSpace

HEADS = "heads.safetensors"
"""The file beside an exported model that holds them."""


def labels_of(experience: Experience, why: str) -> LabelSpace:
    """The classes of an experience.

    Args:
        experience: it.
        why: what they are needed for, for the message.

    Raises:
        UserError: it has none.
    """
    if experience.labels is None:
        raise UserError(f"experience '{experience.name}' has no class names; {why}.")
    return experience.labels


def is_known(heads: nn.ModuleDict, name: str, experience: Experience, labels: LabelSpace) -> bool:
    """Whether a head is there already.

    Raises:
        UserError: it is, with another number of classes.
    """
    if name not in heads:
        return False
    known = heads[name].out_features
    if known != len(labels.classes):
        raise UserError(
            f"experience '{experience.name}' shares head '{labels.head}' but has {len(labels.classes)} "
            f"classes where the head has {known}; give it a head of its own."
        )
    return True


def module_name(head: str) -> str:
    """A head's name as a name of a module: another one for every head, and the same on every machine.

    Letters, digits, "_" and "-" stand for themselves and the rest is percent-encoded, as torch splits names at
    points. Names that torch's containers use themselves ("train", "items", "_modules") get their first letter
    encoded, which no other name can equal.
    """
    name = quote(head, safe="", errors="surrogatepass").replace(".", "%2E").replace("~", "%7E")
    if not name:
        return "%"
    reserved = name.startswith("_") or hasattr(nn.ModuleDict(), name)
    return f"%{ord(name[0]):02X}{name[1:]}" if reserved else name


def linear(weight: Tensor) -> nn.Linear:
    """A frozen head with (classes, width) weights and no bias."""
    head = nn.Linear(weight.shape[1], weight.shape[0], device=weight.device, dtype=weight.dtype)
    with torch.no_grad():
        head.weight.copy_(weight)
        head.bias.zero_()
    return head.requires_grad_(False)


def copy_linear(head: nn.Linear) -> nn.Linear:
    """Another head of the same values."""
    twin = linear(head.weight.detach())
    with torch.no_grad():
        twin.bias.copy_(head.bias)
    return twin


def linear_head(net: nn.Module, classes: int, spec: str) -> str:
    """Path of the last linear map with so many outputs; a convolution of one pixel is one, too (BiT, DLA).

    Args:
        net: a classifier.
        classes: how many it has.
        spec: what it is called in messages.

    Raises:
        UserError: there is none.
    """
    linear = [
        path
        for path, part in net.named_modules()
        if (isinstance(part, nn.Linear) and part.out_features == classes)
        or (
            isinstance(part, nn.Conv2d) and part.weight.shape[0] == classes and part.weight[0, 0].numel() == 1
        )
    ]
    if not linear:
        raise UserError(
            f"the head of '{spec}' is no linear map, which is not supported; give a model with a linear classifier, "
            "or one without a head."
        )
    return linear[-1]
