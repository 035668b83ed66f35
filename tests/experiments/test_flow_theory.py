"""The linear theory of FLOW: its formulas, its special cases, and simulation against prediction."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

FILE = Path(__file__).parents[2] / "experiments" / "flow_theory" / "run.py"


@pytest.fixture(scope="module")
def theory():
    spec = importlib.util.spec_from_file_location("flow_theory", FILE)
    module = importlib.util.module_from_spec(spec)
    sys.modules["flow_theory"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("tau", [0.3, 1.0, 5.0])
def test_weighted_covariance_has_the_papers_form(theory, tau: float) -> None:
    problem = theory.Problem()
    weight, covariance = theory.tilted(problem, tau)
    mu = (tau / (tau + 2 * problem.distance**2)) ** 0.5
    assert weight == pytest.approx(mu, rel=1e-12)
    q = np.zeros_like(covariance)
    rho = problem.rho
    q[:2, :2] = [[1 - mu**2, -rho * mu**2], [-rho * mu**2, rho**2 * (1 - mu**2)]]
    np.testing.assert_allclose(weight * covariance, mu * (np.eye(problem.dimension) - q), atol=1e-12)
    precision = np.linalg.inv(problem.tuning) + 2 / tau * np.outer(problem.e, problem.e)
    np.testing.assert_allclose(covariance, np.linalg.inv(precision), atol=1e-12)


def test_moments_agree_with_sampling(theory) -> None:
    problem = theory.Problem(dimension=3)
    tau = problem.median_loss
    random = np.random.default_rng(0)
    x = random.standard_normal((400_000, 3)) @ np.linalg.cholesky(problem.tuning).T
    weights = np.exp(-((x @ problem.e) ** 2) / tau)
    for power in (1, 2):
        weight, covariance = theory.tilted(problem, tau, power)
        products = (weights**power)[:, None, None] * x[:, :, None] * x[:, None, :]
        error = products.std(0) / len(x) ** 0.5
        assert (np.abs(products.mean(0) - weight * covariance) < 4 * error).all()


@pytest.mark.parametrize("factor", [np.inf, 1.0, 0.25])
@pytest.mark.parametrize("rho", [0.0, 0.6])
def test_prediction_is_simulation_within_monte_carlo_error(theory, factor: float, rho: float) -> None:
    problem = theory.Problem(rho=rho)
    tau = factor * problem.median_loss
    expected = theory.predicted(problem, tau, 30)
    mean, error = theory.simulated(problem, tau, 30, trials=500, seed=1)
    assert (np.abs(mean - expected)[1:] < 4.5 * error[1:]).all()
    # the wrong version, weights divided by their mean, is far outside
    if np.isfinite(tau):
        faster = theory.Problem(rho=rho, lr=problem.lr / theory.tilted(problem, tau)[0])
        assert np.abs((mean - theory.predicted(faster, tau, 30))[10] / error[10]).max() > 20


def test_without_coupling_flow_is_model_averaging(theory) -> None:
    problem = theory.Problem(rho=0.0, batch=10**12)
    tau, steps = problem.median_loss, 25
    mu = (tau / (tau + 2 * problem.distance**2)) ** 0.5
    share = 1 - (1 - problem.lr * mu**3) ** steps
    expected = theory.model_averages(problem, np.array([share]))[0]
    np.testing.assert_allclose(theory.predicted(problem, tau, steps)[-1], expected, atol=1e-9)


def test_one_direction_stalls(theory) -> None:
    problem = theory.Problem()
    for tau in (1e-2, 1e-4):
        weight, covariance = theory.tilted(problem, tau)
        values, vectors = np.linalg.eigh(weight * covariance)
        assert values[0] == pytest.approx(weight**3, rel=0.05)  # along e
        assert values[1] == pytest.approx(weight * (1 - problem.rho**2), rel=0.05)  # along e⊥
        assert abs(vectors[0, 0]) > 0.999


def test_less_is_forgotten_for_a_little_more_loss_on_the_task(theory) -> None:
    problem = theory.Problem()
    plain, flow = (theory.predicted(problem, f * problem.median_loss, 60)[-1] for f in (np.inf, 1.0))
    assert flow[1] < plain[1] and flow[0] > plain[0]


def test_the_picture_is_made_by_one_command(theory, tmp_path: Path) -> None:
    worst = theory.draw(tmp_path / "picture.png", trials=50, steps=10)
    assert worst < 5
    assert (tmp_path / "picture.png").stat().st_size > 10_000
