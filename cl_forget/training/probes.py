"""Linear probes: what a linear classifier can read out of frozen, L2-normalised features.

A_LP in Mukhoti et al. 2308.13320 (LDIFS), section 3. A probe is full-batch multinomial logistic regression;
its one hyper-parameter, the inverse regularisation strength C, is chosen on a held-out tenth of the training
data, and the probe is then fitted again on all of it. The same fit initialises heads (LP, LP-FT, FLOW).
"""

from __future__ import annotations

import contextlib
import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import linalg
from scipy.optimize import minimize
from torch import Tensor
from torch.nn import functional as F

from cl_forget.ground.errors import UserError
from cl_forget.ground.records import ProbeScores

GRID = (1.0, 10.0, 100.0, 1e3, 1e4, 1e5)
TOLERANCE = 3e-4  # on the largest gradient entry of the mean loss, in coordinates of curvature about 1
HELD_OUT = 10  # one sample in this many chooses C
KEPT = 64  # probes that a process remembers

_known: OrderedDict[bytes, LinearProbe] = OrderedDict()  # digest of the input -> probe, used last at the end


@dataclass(frozen=True)
class LinearProbe:
    """A fitted probe: `logits = normalise(features) @ weight.T + bias`.

    Attributes:
        weight: (classes, width).
        bias: (classes,).
        c: the chosen inverse regularisation strength, in scikit-learn's sense.
        validation_accuracy: on the held-out tenth, of the probe fitted on the rest; None where the data were
            too few to hold anything out.
    """

    weight: Tensor
    bias: Tensor
    c: float
    validation_accuracy: float | None

    def logits(self, features: Tensor) -> Tensor:
        """(samples, classes) logits of (samples, width) features, which need not be normalised."""
        return F.linear(F.normalize(features, dim=1), self.weight, self.bias)

    def accuracy(self, features: Tensor, labels: Tensor) -> float:
        """Fraction of (samples, width) features whose largest logit is at their (samples,) label."""
        return (self.logits(features).argmax(1) == labels.to(features.device)).double().mean().item()


def fit_linear_probe(
    features: Tensor,
    labels: Tensor,
    classes: int,
    *,
    seed: int = 0,
    grid: Sequence[float] = GRID,
) -> LinearProbe:
    """Fit a probe; the same input gives the same probe, which a process keeps for a while.

    The runs of an experiment share their pre-trained model and so its probes, and a task whose head starts from a
    probe fits the one that row before it has measured.

    Minimises `C · Σ_i CE_i + ½ ‖W‖²` over weight and unpenalised bias, for each C of the grid on nine tenths
    of the data. The C with the best accuracy on the last tenth wins, on a tie the one with the lower loss.
    A class without samples keeps a zero weight and gets a low bias.

    Args:
        features: (samples, width), normalised here; float64 input is solved in float64, anything else in
            float32.
        labels: (samples,) integers in [0, classes).
        seed: of the split, which is stratified: every tenth sample in order of class, shuffled within a
            class, where a class with one sample is never held out.
        grid: values of C to try.

    Returns:
        The probe; its tensors are read-only.

    Raises:
        UserError: fewer than two classes have samples.
        ValueError: features that are not finite, or shapes that do not fit.
    """
    if features.ndim != 2 or labels.shape != features.shape[:1]:
        raise ValueError(f"need (samples, width) and (samples,), not {features.shape} and {labels.shape}")
    if not features.isfinite().all():
        raise ValueError("features are not finite")
    if len(labels.unique()) < 2:
        raise UserError(
            "a linear probe needs training samples of at least two classes: give the task more training data."
        )
    key = _digest(features, labels, classes, seed, tuple(grid), torch.get_num_threads())
    if key in _known:
        _known.move_to_end(key)
    else:
        _known[key] = _fit(features, labels, classes, seed, grid)
        while len(_known) > KEPT:
            _known.popitem(last=False)
    return _known[key]


def _digest(features: Tensor, labels: Tensor, *rest: object) -> bytes:
    """Of everything that a probe depends on, the device among it, because another one rounds differently."""
    digest = hashlib.sha256(
        repr((features.dtype, features.shape, labels.dtype, features.device, rest)).encode()
    )
    for tensor in (features, labels):
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.digest()


def _fit(features: Tensor, labels: Tensor, classes: int, seed: int, grid: Sequence[float]) -> LinearProbe:
    dtype = torch.float64 if features.dtype == torch.float64 else torch.float32
    x = F.normalize(features.detach().to(dtype), dim=1)
    y = F.one_hot(labels.to(x.device), classes).to(dtype)
    held_out = _held_out(labels.cpu().numpy(), seed).to(x.device)
    mean, spread, axes = _principal_axes(x)
    problem = _Problem((x - mean) @ axes, y, spread)
    if held_out.any():
        c, start, validation = _choose(problem, held_out, grid)
    else:
        c, start, validation = sorted(grid)[len(grid) // 2], problem.zeros(), None
    solution = _solve(problem, c, start)  # (classes, width + 1)
    weight = solution[:, :-1] @ axes.T
    return LinearProbe(weight, solution[:, -1] - weight @ mean, c, validation)


def probe_accuracy(
    train_features: Tensor,
    train_labels: Tensor,
    test_features: Tensor,
    test_labels: Tensor,
    classes: int,
    *,
    seed: int = 0,
    grid: Sequence[float] | None = None,
) -> ProbeScores:
    """A_LP: test accuracy of a probe fitted on the training features; `grid` and `seed` as in `fit_linear_probe`.

    Missing (None) when a model that has diverged gives features that are not finite.

    Raises:
        UserError: as `fit_linear_probe`.
    """
    if not (train_features.isfinite().all() and test_features.isfinite().all()):
        return ProbeScores(accuracy=None)
    probe = fit_linear_probe(train_features, train_labels, classes, seed=seed, grid=grid or GRID)
    return ProbeScores(
        accuracy=probe.accuracy(test_features.to(probe.weight.dtype), test_labels),
        validation=probe.validation_accuracy,
        c=probe.c,
    )


def _held_out(labels: np.ndarray, seed: int) -> Tensor:
    """(samples,) bool: every tenth sample in order of class; none of a class that has only one."""
    tie_break = np.random.default_rng(seed).permutation(len(labels))
    order = np.lexsort((tie_break, labels))
    order = order[np.bincount(labels)[labels[order]] > 1]
    mask = torch.zeros(len(labels), dtype=torch.bool)
    mask[order[min(HELD_OUT // 2, len(order) // 2) :: HELD_OUT]] = True
    return mask


@dataclass(frozen=True)
class _Problem:
    """The regression in the principal axes of the features.

    Shifting the features moves only the unpenalised bias and rotating them leaves ‖W‖ alone, so the minimum
    is the same; but here the curvature along each axis is known, and dividing by it saves L-BFGS most of its
    steps. Without that it stops far from the minimum at large C: features of one model share a direction.

    Attributes:
        z: (samples, width) centred, rotated features.
        y: (samples, classes) one-hot.
        spread: (width,) variance of the features along each axis.
    """

    z: Tensor
    y: Tensor
    spread: Tensor

    def where(self, mask: Tensor) -> _Problem:
        """The same problem on some of the samples."""
        return _Problem(self.z[mask], self.y[mask], self.spread)

    def zeros(self) -> Tensor:
        """(classes, width + 1) solution to start from: weight and, in the last column, bias."""
        return self.z.new_zeros(self.y.shape[1], self.z.shape[1] + 1)

    def logits(self, solution: Tensor) -> Tensor:
        """(samples, classes)."""
        return torch.addmm(solution[:, -1], self.z, solution[:, :-1].T)


def _principal_axes(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (width,), variances (width,) and orthonormal axes (width, width) of the features."""
    mean = x.mean(0)
    spread, axes = _eigh((x - mean).T @ (x - mean) / len(x))
    return mean, spread.clamp_min(0), axes


def _eigh(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Ascending eigenvalues (width,) and orthonormal eigenvectors (width, width) of a symmetric matrix.

    Of a collapsed model nearly all features are constant, and the fast algorithm, in single precision, then gives up
    or gives no numbers. The QR algorithm in double precision takes its place there.
    """
    with contextlib.suppress(torch.linalg.LinAlgError):
        values, vectors = torch.linalg.eigh(matrix)
        if vectors.isfinite().all() or not matrix.isfinite().all():
            return values, vectors
    exact = linalg.eigh(matrix.double().cpu().numpy(), driver="ev", check_finite=False)
    values, vectors = (torch.from_numpy(part).to(matrix) for part in exact)
    return values, vectors


def _choose(problem: _Problem, held_out: Tensor, grid: Sequence[float]) -> tuple[float, Tensor, float]:
    """The best C with its solution and held-out accuracy; each fit starts from the one before."""
    train, rest = problem.where(~held_out), problem.where(held_out)
    targets = rest.y.argmax(1)
    best: tuple[tuple[float, float], float, Tensor] | None = None
    solution = problem.zeros()
    for c in sorted(grid):
        solution = _solve(train, c, solution)
        logits = rest.logits(solution)
        accuracy = (logits.argmax(1) == targets).double().mean().item()
        score = (accuracy, -F.cross_entropy(logits, targets).item())
        if best is None or score > best[0]:
            best = (score, c, solution)
    assert best is not None
    return best[1], best[2], best[0][0]


def _solve(problem: _Problem, c: float, start: Tensor) -> Tensor:
    """(classes, width + 1) minimiser of mean cross-entropy + ‖W‖² / (2 C samples), by L-BFGS."""
    samples, classes = problem.y.shape
    penalty = 1 / (c * samples)
    # At equal probabilities the loss curves by spread / classes along an axis and 1 / classes in the bias.
    curvature = torch.cat([problem.spread / classes + penalty, problem.spread.new_tensor([1 / classes])])
    scale = curvature.rsqrt()

    def loss_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
        solution = torch.from_numpy(flat).view(classes, -1).to(scale) * scale
        weight = solution[:, :-1]
        log_p = problem.logits(solution).log_softmax(1)
        loss = -(log_p * problem.y).sum() / samples + 0.5 * penalty * weight.square().sum()
        error = (log_p.exp() - problem.y) / samples  # (samples, classes)
        gradient = torch.cat([error.T @ problem.z + penalty * weight, error.sum(0)[:, None]], dim=1) * scale
        return loss.item(), gradient.double().cpu().numpy().ravel()

    found = minimize(
        loss_and_gradient,
        (start / scale).double().cpu().numpy().ravel(),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 1000, "maxcor": 20, "gtol": TOLERANCE, "ftol": 0.01 * TOLERANCE**2},
    )
    return torch.from_numpy(found.x).view(classes, -1).to(scale) * scale
