"""FLOW in linear regression: what it should learn, what it learns, and where it stalls.

    python experiments/flow_theory/run.py            # about ten seconds; writes flow_theory.png beside itself

Theory: Sanyal et al. 2025, arXiv:2502.02797; derived again in README.md, extended from the population to
batches of any size.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np

Array = np.ndarray


@dataclass(frozen=True)
class Problem:
    """Noise-free linear regression before and after a shift; axis 0 is the direction of e, axis 1 is e⊥.

    Attributes:
        dimension: of the inputs.
        distance: ‖e‖, e = θ0 - θ1, from the best parameters for tuning θ1 to the pre-trained θ0.
        rho: ρ, how far the tuning inputs couple e with e⊥; |ρ| < 1.
        lr: η of gradient descent.
        batch: fresh samples in each step.
    """

    dimension: int = 8
    distance: float = 1.5
    rho: float = 0.9
    lr: float = 0.15
    batch: int = 16

    @property
    def e(self) -> Array:
        """(dimension,) θ0 - θ1."""
        return self.distance * np.eye(self.dimension)[0]

    @property
    def pretraining(self) -> Array:
        """(dimension, dimension) Σ, inputs of pre-training: neighbouring coordinates correlate by ½."""
        axes = np.arange(self.dimension)
        return 0.5 ** np.abs(axes[:, None] - axes)

    @property
    def tuning(self) -> Array:
        """(dimension, dimension) Σ̃ = I + ρ(ē·e⊥ᵀ + e⊥·ēᵀ), inputs of tuning."""
        covariance = np.eye(self.dimension)
        covariance[0, 1] = covariance[1, 0] = self.rho
        return covariance

    @property
    def median_loss(self) -> float:
        """Median of the pre-trained loss (eᵀx)², FLOW's own τ: that of χ²₁ times ‖e‖²."""
        return 0.4549364 * self.distance**2


def tilted(problem: Problem, tau: float, power: int = 1) -> tuple[float, Array]:
    """(E[w^power], C) with E[w^power·x·xᵀ] = E[w^power]·C, for w = exp(-(eᵀx)²/τ) and x ~ N(0, Σ̃).

    The weight times the density of x is again a Gaussian, with precision Σ̃⁻¹ + (2·power/τ)·e·eᵀ.
    """
    e, covariance = problem.e, problem.tuning
    rate = 2 * power / tau
    scaled = 1 + rate * e @ covariance @ e
    along = covariance @ e
    return scaled**-0.5, covariance - rate / scaled * np.outer(along, along)


def predicted(problem: Problem, tau: float, steps: int) -> Array:
    """(steps + 1, 2) expected (tuning risk, pre-training risk) after each step; τ = inf is plain fine-tuning.

    Exact for a finite batch: mean and second moment of δ = θ - θ1 follow a linear recursion.
    """
    mean_weight, covariance = tilted(problem, tau)
    first = mean_weight * covariance  # E[w x xᵀ]
    square_weight, spread = tilted(problem, tau, power=2)
    lr, batch, identity = problem.lr, problem.batch, np.eye(problem.dimension)
    mean, moment = problem.e, np.outer(problem.e, problem.e)
    risks = [_risks(problem, mean, moment)]
    for _ in range(steps):
        # E[w² x xᵀ M x xᵀ] by Isserlis' theorem for the twice tilted Gaussian
        fourth = square_weight * (2 * spread @ moment @ spread + spread * np.trace(spread @ moment))
        drift = lr * (first @ moment + moment @ first)
        noise = lr**2 * ((1 - 1 / batch) * first @ moment @ first + fourth / batch)
        moment = moment - drift + noise
        mean = (identity - lr * first) @ mean
        risks.append(_risks(problem, mean, moment))
    return np.array(risks)


def _risks(problem: Problem, mean: Array, moment: Array) -> tuple[float, float]:
    e, sigma = problem.e, problem.pretraining
    return float(np.trace(problem.tuning @ moment)), float(
        np.trace(sigma @ moment) - 2 * e @ sigma @ mean + e @ sigma @ e
    )


def simulated(problem: Problem, tau: float, steps: int, trials: int, seed: int = 0) -> tuple[Array, Array]:
    """Means and standard errors, (steps + 1, 2) each, of the risks over independent runs of FLOW."""
    random = np.random.default_rng(seed)
    root = np.linalg.cholesky(problem.tuning)
    delta = np.tile(problem.e, (trials, 1))
    risks = []
    for step in range(steps + 1):
        away = delta - problem.e
        risks.append(
            np.stack(
                [
                    np.einsum("ti,ij,tj->t", delta, problem.tuning, delta),
                    np.einsum("ti,ij,tj->t", away, problem.pretraining, away),
                ]
            )
        )
        if step < steps:
            x = random.standard_normal((trials, problem.batch, problem.dimension)) @ root.T
            weights = np.exp(-((x @ problem.e) ** 2) / tau)  # fixed by the pre-trained model, not normalised
            residual = np.einsum("tbi,ti->tb", x, delta)
            delta = delta - problem.lr * np.einsum("tb,tbi->ti", weights * residual, x) / problem.batch
    found = np.array(risks)  # (steps + 1, 2, trials)
    return found.mean(-1), found.std(-1, ddof=1) / trials**0.5


def model_averages(problem: Problem, shares: Array) -> Array:
    """(shares, 2) risks of (1-α)·θ0 + α·θ1."""
    e = problem.e
    before, after = e @ problem.pretraining @ e, e @ problem.tuning @ e
    return np.stack([(1 - shares) ** 2 * after, shares**2 * before], axis=1)


def draw(path: Path, trials: int = 400, steps: int = 60) -> float:
    """Write the picture; returns the largest distance of simulation from theory, in standard errors."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    problem = Problem()
    settings = {"plain, τ = ∞": np.inf, "τ = 4 medians": 4.0, "τ = median": 1.0, "τ = ¼ median": 0.25}
    colours = dict(zip(settings, ("#444444", "#1b7fbd", "#d9730d", "#2a9d5c"), strict=True))
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(15, 4.8), layout="constrained")
    worst = 0.0
    for number, (name, factor) in enumerate(settings.items()):
        tau = factor * problem.median_loss
        theory = predicted(problem, tau, steps)
        mean, error = simulated(problem, tau, steps, trials, seed=number)
        worst = max(worst, float((np.abs(mean - theory)[1:] / error[1:]).max()))
        left.plot(theory[:, 0], color=colours[name], label=name)
        left.plot(theory[:, 1], color=colours[name], linestyle="--")
        shown = slice(None, None, 6)
        for column in (0, 1):
            left.errorbar(
                np.arange(steps + 1)[shown], mean[shown, column], 2 * error[shown, column],
                fmt="o", markersize=3.5, color=colours[name],
            )  # fmt: skip
        middle.plot(*theory[-1], "o", color=colours[name], markersize=8)
    left.set(
        xlabel="step", ylabel="risk", title="Theory (lines) and simulation (dots, ± 2 standard errors)\n"
        "solid: tuning risk, dashed: pre-training risk",
    )  # fmt: skip
    left.legend(frameon=False)
    _trade_off(middle, problem, steps)
    _stall(right, problem)
    figure.savefig(path, dpi=110)
    return worst


def _trade_off(axes: object, problem: Problem, steps: int) -> None:
    averages = model_averages(problem, np.linspace(0, 1, 101))
    axes.plot(*averages.T, color="black", linestyle=":", label="model averages of θ0 and θ1")
    early = predicted(Problem(batch=10**9, lr=0.01), np.inf, 15 * steps)  # small steps: a smooth line
    axes.plot(*early.T, color="#444444", linewidth=1, label=f"plain, stopped at any step, ρ = {problem.rho}")
    for rho, style in ((problem.rho, "-"), (0.0, "--")):
        large = Problem(rho=rho, batch=10**9)
        path = np.array(
            [predicted(large, f * large.median_loss, steps)[-1] for f in np.geomspace(0.02, 1e4, 80)]
        )
        axes.plot(
            *path.T, color="#9b3fb5", linestyle=style, label=f"FLOW, every τ, ρ = {rho}, whole population"
        )
    axes.set(
        xlabel="tuning risk", ylabel="pre-training risk", title=f"After {steps} steps (dots as on the left)"
    )
    axes.legend(frameon=False, fontsize=9)


def _stall(axes: object, problem: Problem) -> None:
    taus = np.geomspace(1e-2, 1e3, 100)
    plane = []
    for tau in taus:
        weight, covariance = tilted(problem, tau * problem.median_loss)
        plane.append(np.linalg.eigvalsh(weight * covariance[:2, :2]))
    low, high = np.array(plane).T
    axes.loglog(taus, high, color="#1b7fbd", label="fastest direction")
    axes.loglog(taus, low, color="#d9730d", label="slowest direction (e itself as τ → 0)")
    axes.axvline(1, color="grey", linewidth=0.8)
    axes.text(0.85, high.max(), "FLOW's τ", color="grey", ha="right", va="top")
    axes.set(
        xlabel="τ / median loss", ylabel="eigenvalue of μ(I - Q)",
        title="Speed of learning in the plane of e and e⊥:\none direction stalls long before the other",
    )  # fmt: skip
    axes.legend(frameon=False, loc="lower right")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("flow_theory.png"))
    parser.add_argument("--trials", type=int, default=400)
    arguments = parser.parse_args()
    worst = draw(arguments.output, arguments.trials)
    print(f"{arguments.output}: simulation within {worst:.1f} standard errors of theory at every step")
