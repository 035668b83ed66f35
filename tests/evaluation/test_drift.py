import math

import numpy as np
import pytest
import torch

from cl_forget.evaluation.drift import feature_distance, feature_drift, linear_cka, weight_distance


def features(samples, width, seed=0):
    return torch.randn(samples, width, generator=torch.Generator().manual_seed(seed))


def hsic(K, L):
    """tr(KHLH) / (n - 1)², H the centring matrix."""
    n = len(K)
    H = np.eye(n) - np.ones((n, n)) / n
    return np.trace(K @ H @ L @ H) / (n - 1) ** 2


def naive_cka(x, y):
    K, L = x @ x.T, y @ y.T
    return hsic(K, L) / math.sqrt(hsic(K, K) * hsic(L, L))


@pytest.mark.parametrize(("samples", "width", "other"), [(40, 5, 7), (10, 30, 20), (20, 5, 60)])
def test_linear_cka_is_the_normalised_hsic(samples, width, other):
    x = features(samples, width)
    y = x @ features(width, other, 1) + features(samples, other, 2) + 3.0
    expected = naive_cka(x.double().numpy(), y.double().numpy())
    assert linear_cka(x, y) == pytest.approx(expected, rel=1e-10)


def test_cka_ignores_rotation_scale_and_shift():
    x = features(30, 8)
    rotation = torch.linalg.qr(features(8, 8, 1).double())[0]
    assert linear_cka(x, x) == pytest.approx(1.0)
    assert linear_cka(x, -2.5 * (x.double() @ rotation) + 4.0) == pytest.approx(1.0)
    assert linear_cka(x, features(30, 8, 3)) < 0.6


def test_cka_of_a_collapsed_representation_is_missing():
    x = features(30, 8)
    assert linear_cka(x, torch.full((30, 4), 0.1)) is None
    assert linear_cka(100 + 1e-6 * x, x) is None  # differences below what float32 features can carry
    assert linear_cka(x, torch.full_like(x, torch.nan)) is None
    with pytest.raises(ValueError, match="30 and 29 samples"):
        linear_cka(x, x[1:])


def test_feature_distance():
    base = torch.tensor([[3.0, 4.0], [0.0, 5.0]])  # squared lengths 25, 25
    moved = torch.tensor([[3.0, 5.0], [2.0, 5.0]])  # moved by 1 and 4, squared
    assert feature_distance(moved, base) == pytest.approx(5 / 50)
    assert feature_distance(base, base) == 0.0
    assert feature_distance(2 * base, base) == pytest.approx(1.0)
    assert feature_distance(moved, torch.zeros_like(base)) is None
    with pytest.raises(ValueError, match="differ in shape"):
        feature_distance(moved[:1], base)


def test_tokens_are_averaged():
    x = features(12, 5 * 3).view(12, 5, 3)
    y = features(12, 5 * 3, 1).view(12, 5, 3)
    assert feature_distance(x, y) == pytest.approx(feature_distance(x.mean(1), y.mean(1)))
    assert linear_cka(x, y) == pytest.approx(linear_cka(x.mean(1), y.mean(1)))


def test_feature_drift_by_depth():
    now = {"block 1": features(20, 4), "block 2": features(20, 4, 1), "new": features(20, 4)}
    before = {"block 1": now["block 1"], "block 2": torch.zeros(20, 4)}
    drift = feature_drift(now, before)
    assert drift.feature_drift == {"block 1": 0.0}  # no length to compare with at block 2: absent, not 0
    assert drift.cka == {"block 1": pytest.approx(1.0)}
    assert drift.weight_distance == {}


def block_of(name):
    return int(name.split(".")[1]) if name.startswith("blocks.") else None


def test_weight_distance_by_block():
    reference = {
        "stem": torch.zeros(2),
        "blocks.0.w": torch.zeros(2, 2),
        "blocks.0.b": torch.ones(1),
        "blocks.10.w": torch.ones(3),
        "blocks.2.w": torch.ones(3),
        "steps": torch.tensor(1),
        "resized": torch.zeros(2),
    }
    weights = {
        "stem": torch.tensor([3.0, 4.0]),  # 25
        "blocks.0.w": torch.full((2, 2), 2.0),  # 16
        "blocks.0.b": torch.tensor([4.0]),  # 9
        "blocks.10.w": torch.tensor([1.0, 1.0, 3.0]),  # 4
        "blocks.2.w": torch.ones(3),  # 0
        "steps": torch.tensor(7),  # an integer buffer
        "resized": torch.zeros(3),
        "head.new": torch.ones(2),
    }
    found = weight_distance(weights, reference, block_of)
    assert list(found) == ["all", "block 0", "block 2", "block 10", "other"]
    expected = {"all": 54**0.5, "block 0": 5.0, "block 2": 0.0, "block 10": 2.0, "other": 5.0}
    assert found == pytest.approx(expected)
    assert weight_distance(weights, {}, block_of) == {}
