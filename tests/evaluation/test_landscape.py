import math

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from torch import nn
from torch.nn import functional as F

from cl_forget.evaluation.landscape import (
    Flatness,
    Landscape,
    filter_normalised_direction,
    flatness,
    loss_landscape,
    plot,
    sam_gap,
)


def model_and_loss():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 2), nn.Flatten(), nn.LayerNorm(12), nn.Linear(12, 4))
    x, y = torch.randn(8, 2, 3, 3), torch.randint(0, 4, (8,))
    return model, lambda: F.cross_entropy(model(x), y)


def bowl(k1, k2, points=5, radius=1.0):
    axis = np.linspace(-radius, radius, points)
    a, b = np.meshgrid(axis, axis, indexing="ij")
    return Landscape(axis, 2.0 + 0.5 * k1 * a**2 + 0.5 * k2 * b**2)


def test_flatness_of_a_quadratic_bowl_is_its_closed_form():
    # axis -1, -.5, 0, .5, 1: inner points have a, b in {-.5, 0, .5}; ∂a = 4a, ∂b = 2b, ∂aa = 4, ∂bb = 2
    found = flatness(bowl(4.0, 2.0))
    assert found.surface_curvature == pytest.approx((4 + 2) / 2)
    # |∂a| is 2, 0, 2 and |∂b| is 1, 0, 1 over the three values: means 4/3 and 2/3
    assert found.mean_absolute_gradient == pytest.approx((4 / 3 + 2 / 3) / 2)
    # norms on the 9 points: 4 x sqrt(5), 2 x 2 (b = 0), 2 x 1 (a = 0), 0
    assert found.average_gradient == pytest.approx((4 * math.sqrt(5) + 4 + 2) / 9)


def test_a_saddle_is_not_flat_and_a_plane_has_no_curvature():
    assert flatness(bowl(4.0, -4.0)).surface_curvature == pytest.approx(4.0)
    axis = np.linspace(-2, 2, 7)
    plane = flatness(Landscape(axis, 3 * axis[:, None] + 4 * axis[None, :]))
    assert plane.surface_curvature == pytest.approx(0.0, abs=1e-12)
    assert (plane.average_gradient, plane.mean_absolute_gradient) == (pytest.approx(5.0), pytest.approx(3.5))


def test_flatness_is_missing_where_a_loss_is_not_finite():
    landscape = bowl(1.0, 1.0)
    landscape.losses[0, 0] = np.inf
    assert flatness(landscape) == Flatness(None, None, None)


def test_landscape_of_a_quadratic_loss_is_that_quadratic():
    weights = torch.tensor([[3.0, 4.0], [0.0, 2.0]], dtype=torch.float64)
    landscape = loss_landscape(lambda: weights.square().sum(), [("w", weights)], seed=1, radius=0.5, points=5)
    generator = torch.Generator().manual_seed(1)
    d1, d2 = (filter_normalised_direction([("w", weights)], generator)[0] for _ in range(2))
    for i, a in enumerate([-0.5, -0.25, 0.0, 0.25, 0.5]):
        for j, b in enumerate([-0.5, -0.25, 0.0, 0.25, 0.5]):
            expected = (weights + a * d1 + b * d2).square().sum().item()
            assert landscape.losses[i, j] == pytest.approx(expected)
    assert landscape.centre == 29.0
    np.testing.assert_allclose(landscape.axis, [-0.5, -0.25, 0.0, 0.25, 0.5])
    # second derivatives of ‖w + a d1 + b d2‖²: 2 ‖d‖² = 2 ‖w‖² = 58 along both
    assert flatness(landscape).surface_curvature == pytest.approx(58.0)


def test_directions_are_filter_normalised():
    model, _ = model_and_loss()
    parameters = list(model.named_parameters())
    directions = dict(
        zip(
            [name for name, _ in parameters],
            filter_normalised_direction(parameters, torch.Generator().manual_seed(0)),
            strict=True,
        )
    )
    for name, value in parameters:
        if name in ("0.weight", "3.weight"):
            for k in range(len(value)):  # filter by filter
                length = math.sqrt(sum(x * x for x in value[k].flatten().tolist()))
                moved = math.sqrt(sum(x * x for x in directions[name][k].flatten().tolist()))
                assert moved == pytest.approx(length, rel=1e-5)
        else:  # biases and the layer norm
            assert not directions[name].any()


def test_weights_are_restored_to_the_bit_and_the_seed_fixes_the_landscape():
    model, loss = model_and_loss()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    parameters = list(model.named_parameters())
    first, second, other = (loss_landscape(loss, parameters, seed=s, points=3) for s in (4, 4, 5))
    assert sam_gap(loss, parameters) > 0
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(value.grad is None and value.requires_grad for _, value in parameters)
    np.testing.assert_array_equal(first.losses, second.losses)
    assert (first.losses != other.losses).any()
    assert first.centre == loss().item()


def test_weights_are_restored_when_the_loss_raises():
    model, _ = model_and_loss()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for function in (loss_landscape, sam_gap):
        with pytest.raises(ZeroDivisionError):
            function(lambda: 1 / 0, list(model.named_parameters()))
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


@pytest.mark.parametrize("options", [{"points": 4}, {"points": 1}, {"radius": 0.0}])
def test_a_grid_without_a_centre_is_refused(options):
    with pytest.raises(ValueError, match="odd"):
        loss_landscape(lambda: torch.tensor(0.0), [], **options)


def test_sam_gap_of_a_linear_and_of_a_round_loss_is_exact():
    w, v = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 4.0])
    parameters = [("w", w), ("v", v)]
    # ‖θ‖ = 5; the ascent step goes along θ: (5 + .1)² - 25, the true maximum over the ball
    assert sam_gap(lambda: w.square().sum() + v.square().sum(), parameters, 0.1) == pytest.approx(
        1.01, rel=1e-5
    )
    # slope (1, 0, 0, 2) with the global norm sqrt(5): gap ρ sqrt(5)
    assert sam_gap(lambda: w[0] + 2 * v[1], parameters, 0.1) == pytest.approx(0.1 * math.sqrt(5), rel=1e-5)
    assert not w.requires_grad


def test_sam_gap_is_missing_without_a_direction():
    w = torch.zeros(2)
    assert sam_gap(lambda: w.square().sum(), [("w", w)]) is None
    assert sam_gap(lambda: w.sum() * torch.nan, [("w", w)]) is None


def test_plot_writes_a_whole_picture(tmp_path):
    landscape = bowl(1.0, 3.0, points=11)
    landscape.losses[0, 0] = np.nan
    plot(landscape, tmp_path / "bowl.png", title="bowl")
    assert [file.name for file in tmp_path.iterdir()] == ["bowl.png"]
    picture = imread(tmp_path / "bowl.png")
    assert picture.shape[:2] == (750, 900)
    assert len(np.unique(picture.reshape(-1, picture.shape[2]), axis=0)) > 16
    with pytest.raises(ValueError, match="no finite loss"):
        plot(Landscape(landscape.axis, np.full((11, 11), np.nan)), tmp_path / "none.png")


def test_a_constant_landscape_can_be_drawn(tmp_path):
    plot(bowl(0.0, 0.0), tmp_path / "flat.png")
    assert (tmp_path / "flat.png").stat().st_size > 0
