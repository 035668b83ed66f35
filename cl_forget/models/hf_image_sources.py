"""Image classifiers and image encoders of transformers: DINOv2, SigLIP, ConvNeXt, ViT, ResNet, ..."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cl_forget.ground.errors import UserError, first_line
from cl_forget.ground.files import whole
from cl_forget.ground.hub import hub_offline_if_unreachable
from cl_forget.models._own_classes import OwnClasses, of_labels
from cl_forget.models._quiet import panics_are_errors, quiet_transformers
from cl_forget.models._transformers import (
    check_report,
    from_folder,
    from_hub,
    known_trouble,
    opened,
    place_of,
)
from cl_forget.models.plausible import refuse_not_finite
from cl_forget.models.sources import trusts_code

if TYPE_CHECKING:
    from torch import nn

    from cl_forget.models._processors import ProcessorPreprocess
    from cl_forget.models.classifier import ImageClassifier


def load_hf_image(what: str = "") -> ImageClassifier:
    """hf-image:<name on the hub or local folder>: an image classifier or image encoder of transformers.

    A model of images and texts is used without its text tower.

    Raises:
        UserError: no such model, unreadable or foreign weights, no image processor, a model of something else, or
            the hub is out of reach.
    """
    where = place_of(what, "hf-image")
    spec, folder = f"hf-image:{what}", Path(where)
    reach = contextlib.nullcontext() if folder.is_dir() else hub_offline_if_unreachable()
    with reach, quiet_transformers():
        try:
            with panics_are_errors():
                net = _network(where, spec)
        except UserError:
            raise
        except Exception as error:
            raise UserError(_why_not(spec, folder.is_dir(), error)) from error
        preprocess = _preprocess(where, spec)
    refuse_not_finite(spec, net)
    return classifier_of(net, preprocess, spec)


def classifier_of(net: nn.Module, preprocess: ProcessorPreprocess, spec: str) -> ImageClassifier:
    """A network of transformers as a foundation model.

    Args:
        net: it.
        preprocess: how it wants its images.
        spec: what it is called in messages.

    Raises:
        UserError: it is no image classifier with a linear head, and no image encoder.
    """
    from cl_forget.models.classifier import ImageClassifier

    head, classes = _own_head(net, spec), OwnClasses([])
    if head is not None:
        config: Any = net.config
        classes = of_labels(config.id2label, config.num_labels)
    return ImageClassifier(net, preprocess, _Transformers(preprocess.processor), head, classes, spec)


def _network(where: str, spec: str) -> nn.Module:
    from transformers import AutoConfig, AutoModel, AutoModelForImageClassification

    folder = Path(where)
    checkpoint = opened(folder) if folder.is_dir() else None
    config = AutoConfig.from_pretrained(where, trust_remote_code=trusts_code())
    classifies = any(name.endswith("ForImageClassification") for name in config.architectures or ())
    if not classifies and not _reads_images(config):
        raise UserError(
            f"'{spec}' is no image model ({config.model_type}); give one that reads images, or write hf:{where} if "
            "it is a language model."
        )
    auto = AutoModelForImageClassification if classifies else AutoModel
    if checkpoint is None:
        model, report = from_hub(where, auto)
    else:
        model, report = from_folder(folder, checkpoint, config, auto)
    # An encoder that was saved without its pooler is one without a pooler.
    unpooled = not classifies and all(name.startswith("pooler.") for name in report["missing_keys"])
    check_report(where, report, lambda name: unpooled and name.startswith("pooler."))
    if unpooled and report["missing_keys"]:
        model.pooler = None
    net: nn.Module = model
    if not classifies and hasattr(config, "vision_config"):
        net = model.vision_model
    return net


def _reads_images(config: Any) -> bool:
    return hasattr(config, "vision_config") or any(
        hasattr(config, name) for name in ("image_size", "num_channels", "patch_size")
    )


def _own_head(net: Any, spec: str) -> str | None:
    """Path of the linear map that gives a classifier's logits; None for an encoder."""
    from cl_forget.models._heads import linear_head

    classifies = type(net).__name__.endswith("ForImageClassification")
    return linear_head(net, int(net.config.num_labels), spec) if classifies else None


def _preprocess(where: str, spec: str) -> ProcessorPreprocess:
    from transformers import AutoImageProcessor

    from cl_forget.models._processors import ProcessorPreprocess

    try:
        processor = AutoImageProcessor.from_pretrained(where, trust_remote_code=trusts_code())
    except Exception as error:
        raise UserError(
            f"'{spec}' has no image processor that can be read ({first_line(error)}); put the model's "
            "preprocessor_config.json beside its weights."
        ) from error
    try:
        return ProcessorPreprocess(processor, spec)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"the image processor of '{spec}' fails on a picture ({first_line(error)}); check its "
            "preprocessor_config.json."
        ) from error


class _Transformers:
    """Writes what `hf-image:` and transformers load.

    Args:
        processor: the image processor that belongs to the network.
    """

    def __init__(self, processor: Any) -> None:
        self._processor = processor

    def save(self, net: nn.Module, folder: Path) -> list[Path]:
        """Configuration, weights and image processor."""
        model: Any = net
        with whole(folder) as temporary, quiet_transformers():
            model.save_pretrained(temporary)
            self._processor.save_pretrained(temporary)
            shutil.rmtree(folder, ignore_errors=True)
        return sorted(folder.iterdir())

    def load(self, net: nn.Module, folder: Path) -> None:
        """Set a network to what `save` has written, whatever its library calls the tensors in files."""
        import torch

        kind: Any = type(net)
        with quiet_transformers():
            net.load_state_dict(kind.from_pretrained(folder, dtype=torch.float32).state_dict())


def _why_not(spec: str, local: bool, error: Exception) -> str:
    return known_trouble(spec, local, error) or (
        f"'{spec}' cannot be loaded: {first_line(error)}; check that it is a whole image classifier or image encoder "
        "of this version of transformers."
    )
