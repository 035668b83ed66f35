"""Flatness: the loss around a model on a plane of random directions, and under a worst-case step.

The plane follows Li et al. 1712.09913, section 4 (filter normalisation). Li et al. 2406.04836 relate three
measures of it to forgetting but their formulas could not be checked, so `flatness` states its own.

Every function takes `loss`, a closure that returns the mean loss of the model on fixed data as a tensor
without dimensions. It decides everything else: evaluation mode, batch, data. Parameters are moved in place
while it is called and are restored to the bit, also when it raises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cl_forget.ground.files import whole
from cl_forget.ground.progress import track

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Named = Sequence[tuple[str, Tensor]]


@dataclass(frozen=True)
class Landscape:
    """Mean losses at θ + a·d1 + b·d2 on a square grid.

    Attributes:
        axis: (points,) the values of a and of b, symmetric about 0. At 1 every filter has moved by its own
            norm.
        losses: (points, points) nats; `losses[i, j]` is at a = axis[i], b = axis[j].
    """

    axis: NDArray[np.float64]
    losses: NDArray[np.float64]

    @property
    def centre(self) -> float:
        """The loss of the model itself."""
        middle = len(self.axis) // 2
        return float(self.losses[middle, middle])


@dataclass(frozen=True)
class Flatness:
    """How rough a landscape is, in nats per unit (or unit²) of its axes; None when a loss was not finite.

    Attributes:
        surface_curvature: SC, mean of |∂²L/∂a²| and |∂²L/∂b²| over the inner grid points.
        average_gradient: AG, mean of ‖(∂L/∂a, ∂L/∂b)‖ over the inner grid points.
        mean_absolute_gradient: MAG, mean of |∂L/∂a| and |∂L/∂b| over the inner grid points.
    """

    surface_curvature: float | None
    average_gradient: float | None
    mean_absolute_gradient: float | None


def filter_normalised_direction(parameters: Named, generator: torch.Generator) -> list[Tensor]:
    """A Gaussian direction whose every filter has the norm of the weights' filter (1712.09913, section 4).

    A filter is a slice along the first dimension: a convolution's output channel, a linear map's output row.
    Biases, normalisation parameters and all else with fewer than two dimensions stay where they are.

    Args:
        generator: on the CPU, so that the direction does not depend on the device.

    Returns:
        One tensor per parameter, in order, with its shape, dtype and device.
    """
    return [_filter_normalised(value.detach(), generator) for _, value in parameters]


def _filter_normalised(weights: Tensor, generator: torch.Generator) -> Tensor:
    if weights.ndim < 2:
        return torch.zeros_like(weights)
    direction = torch.randn(weights.shape, generator=generator).to(weights)
    ratio = weights.flatten(1).norm(dim=1) / direction.flatten(1).norm(dim=1)
    return direction * ratio.view(-1, *[1] * (weights.ndim - 1))


def loss_landscape(
    loss: Callable[[], Tensor], parameters: Named, *, seed: int = 0, radius: float = 1.0, points: int = 11
) -> Landscape:
    """The loss on a grid of two filter-normalised random directions around the model.

    The directions depend on the seed, the parameters' order and their shapes, so that landscapes of models of
    one architecture under one seed can be compared. Costs `points²` evaluations.

    Args:
        loss: the mean loss on fixed data; called without gradients.
        parameters: (name, tensor) of what is moved.
        radius: largest |a| and |b|.
        points: grid points along each axis, odd so that the model itself is one.

    Raises:
        ValueError: `points` is even or below 3, or `radius` is not positive.
    """
    if points < 3 or points % 2 == 0 or radius <= 0:
        raise ValueError(f"points must be odd and at least 3 and radius positive, not {points} and {radius}")
    generator = torch.Generator().manual_seed(seed)
    first, second = (filter_normalised_direction(parameters, generator) for _ in range(2))
    half = points // 2
    axis = radius * np.arange(-half, half + 1) / half
    losses = np.empty((points, points))
    with torch.no_grad(), _moving(parameters) as originals:
        for i, j in track(np.ndindex(points, points), "loss landscape", points * points):
            a, b = float(axis[i]), float(axis[j])
            for (_, value), original, d1, d2 in zip(parameters, originals, first, second, strict=True):
                value.copy_(original + a * d1 + b * d2)
            losses[i, j] = float(loss())
    return Landscape(axis, losses)


def flatness(landscape: Landscape) -> Flatness:
    """SC, AG and MAG of a landscape by central differences with the grid's spacing h.

    `∂L/∂a ≈ (L[i+1,j] - L[i-1,j]) / 2h` and `∂²L/∂a² ≈ (L[i+1,j] - 2 L[i,j] + L[i-1,j]) / h²`, likewise b,
    at the points that have all four neighbours. They depend on radius and spacing: compare equal grids only.
    """
    L, h = landscape.losses, landscape.axis[1] - landscape.axis[0]
    if not np.isfinite(L).all():
        return Flatness(None, None, None)
    inner = L[1:-1, 1:-1]
    gradients = np.stack([L[2:, 1:-1] - L[:-2, 1:-1], L[1:-1, 2:] - L[1:-1, :-2]]) / (2 * h)
    curvatures = np.stack(
        [L[2:, 1:-1] - 2 * inner + L[:-2, 1:-1], L[1:-1, 2:] - 2 * inner + L[1:-1, :-2]]
    ) / (h * h)
    return Flatness(
        surface_curvature=float(np.abs(curvatures).mean()),
        average_gradient=float(np.sqrt((gradients**2).sum(axis=0)).mean()),
        mean_absolute_gradient=float(np.abs(gradients).mean()),
    )


def sam_gap(loss: Callable[[], Tensor], parameters: Named, rho: float = 0.05) -> float | None:
    """One-step estimate of `max_{‖ε‖₂ <= ρ} L(θ + ε) - L(θ)` (Foret et al. 2010.01412, eq. 2).

    The maximum is replaced by SAM's own ascent step, `ε = ρ·g / ‖g‖₂` with the global norm over all the
    parameters: exact to first order in ρ, and a lower bound of the true gap.

    Args:
        loss: the mean loss on fixed data, differentiable; called once with and once without gradients.
        parameters: (name, tensor) of what is moved; need not require gradients outside this call.
        rho: radius of the ball, in the units of the weights.

    Returns:
        A difference of losses in nats; None where the gradient is zero or not finite and gives no direction.
    """
    tensors = [value for _, value in parameters]
    with _moving(parameters) as originals:
        here, gradients = _differentiate(loss, tensors)
        norm = torch.stack([g.norm() for g in gradients]).norm()
        if norm == 0 or not torch.isfinite(norm):
            return None
        with torch.no_grad():
            for value, original, gradient in zip(tensors, originals, gradients, strict=True):
                value.copy_(original + (rho / norm) * gradient)
            return float(loss()) - here


def _differentiate(loss: Callable[[], Tensor], tensors: list[Tensor]) -> tuple[float, list[Tensor]]:
    """The loss and its gradients; neither `.grad` nor `requires_grad` is different afterwards."""
    required = [value.requires_grad for value in tensors]
    try:
        for value in tensors:
            value.requires_grad_(True)
        with torch.enable_grad():
            here = loss()
            gradients = torch.autograd.grad(here, tensors, allow_unused=True, materialize_grads=True)
    finally:
        for value, flag in zip(tensors, required, strict=True):
            value.requires_grad_(flag)
    return here.item(), list(gradients)


@contextmanager
def _moving(parameters: Named) -> Iterator[list[Tensor]]:
    """Copies of the parameters; on leaving, the parameters have their values back."""
    originals = [value.detach().clone() for _, value in parameters]
    try:
        yield originals
    finally:
        with torch.no_grad():
            for (_, value), original in zip(parameters, originals, strict=True):
                value.copy_(original)


def plot(landscape: Landscape, path: Path, title: str = "") -> None:
    """Write the landscape as a PNG: filled contours of the loss, the model itself marked in the centre.

    Losses that are not finite are left blank.

    Raises:
        ValueError: no loss is finite.
    """
    plot_together({title: landscape}, path)


def plot_together(landscapes: Mapping[str, Landscape], path: Path) -> None:
    """Write several landscapes side by side as one PNG, with one scale of colours, so that they compare.

    Args:
        landscapes: title -> landscape.
        path: of the picture.

    Raises:
        ValueError: no loss is finite.
    """
    from matplotlib.colors import BoundaryNorm
    from matplotlib.figure import Figure

    losses = np.concatenate([landscape.losses.ravel() for landscape in landscapes.values()])
    losses = losses[np.isfinite(losses)]
    if not losses.size:
        raise ValueError("the landscape has no finite loss to draw")
    # Losses grow fast away from the centre: levels at their quantiles give every colour an equal area.
    levels = np.unique(np.quantile(losses, np.linspace(0, 1, 17)))
    if len(levels) < 2:
        levels = np.array([levels[0] - 0.5, levels[0] + 0.5])
    norm = BoundaryNorm(levels, 256)
    count = len(landscapes)
    figure = Figure(figsize=(6.0 if count == 1 else 4.6 * count + 1.2, 5.0), dpi=150, layout="constrained")
    panels = figure.subplots(1, count, sharey=True, squeeze=False)[0]
    for axes, (title, landscape) in zip(panels, landscapes.items(), strict=True):
        filled = _contours(axes, landscape, levels, norm)
        axes.set_title(title, parse_math=False)
        axes.set_xlabel("direction 1 (filter norms)")
    panels[0].set_ylabel("direction 2 (filter norms)")
    figure.colorbar(
        filled, ax=list(panels), label="mean loss, nats (an equal area per colour)", format="%.3g"
    )
    with whole(path) as temporary:
        figure.savefig(temporary, format="png")


def _contours(axes: Axes, landscape: Landscape, levels: NDArray[np.float64], norm: Any) -> Any:
    """Filled contours, the model itself in the centre with its loss."""
    losses = np.ma.masked_invalid(landscape.losses)
    grid = (landscape.axis, landscape.axis, losses.T)  # contour's first index is the vertical axis
    filled = axes.contourf(*grid, levels=levels, cmap="viridis", norm=norm)
    axes.contour(*grid, levels=levels, colors="white", linewidths=0.4, alpha=0.6)
    axes.plot(0, 0, marker="o", markersize=8, markerfacecolor="white", markeredgecolor="black", clip_on=False)
    axes.annotate(
        f"{landscape.centre:.3g}",
        (0, 0),
        xytext=(9, 7),
        textcoords="offset points",
        color="white",
        fontsize=9,
        bbox={"boxstyle": "round,pad=0.2", "facecolor": "black", "alpha": 0.5, "linewidth": 0},
    )
    axes.set_aspect("equal")
    return filled
