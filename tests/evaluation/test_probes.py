import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch.nn import functional as F

from cl_forget.ground.errors import UserError
from cl_forget.training import probes
from cl_forget.training.probes import GRID, fit_linear_probe, probe_accuracy


def clusters(samples=200, width=16, classes=4, spread=1.0, seed=0, centres_seed=0):
    """Gaussian clusters; the same centres whatever the seed."""
    centres = torch.randn(classes, width, generator=torch.Generator().manual_seed(centres_seed))
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, (samples,), generator=generator)
    return centres[labels] + spread * torch.randn(samples, width, generator=generator), labels


def correlated(samples=600, width=32, classes=5):
    """Features as models make them: a large common direction and a spectrum that falls by decades."""
    spectrum = torch.arange(1, width + 1).float() ** -1.5
    features, labels = clusters(samples, width, classes, spread=1.5)
    return features * spectrum + 3.0, labels


@pytest.mark.parametrize("c", [1.0, 100.0, 1e4, 1e5])
def test_the_default_tolerance_reaches_the_minimum_on_correlated_features(c):
    features, labels = correlated()
    x = F.normalize(features, dim=1).double()
    probe = fit_linear_probe(features, labels, 5, grid=[c])
    centred = (x - x.mean(0)).numpy()
    reference = LogisticRegression(C=c, solver="newton-cg", tol=1e-8, max_iter=1000).fit(
        centred, labels.numpy()
    )
    logits = torch.from_numpy(reference.decision_function(centred))

    def loss(logits, weight):
        return F.cross_entropy(logits, labels) + weight.square().sum() / (2 * c * len(labels))

    found = loss(probe.logits(features).double(), probe.weight.double())
    assert found.item() == pytest.approx(loss(logits, torch.from_numpy(reference.coef_)).item(), abs=2e-4)


@pytest.mark.parametrize("c", [0.1, 10.0, 1000.0])
def test_the_solution_is_scikit_learns(c, monkeypatch):
    monkeypatch.setattr(probes, "TOLERANCE", 1e-9)
    features, labels = clusters(spread=2.0)
    x = F.normalize(features.double(), dim=1)
    probe = fit_linear_probe(features.double(), labels, 4, grid=[c])
    reference = LogisticRegression(C=c, tol=1e-9, max_iter=10_000).fit(x.numpy(), labels.numpy())
    np.testing.assert_allclose(probe.weight.numpy(), reference.coef_, atol=1e-5 * c**0.5)
    # the softmax does not fix a shift common to all biases
    bias = probe.bias.numpy() - probe.bias.numpy().mean()
    np.testing.assert_allclose(bias, reference.intercept_ - reference.intercept_.mean(), atol=1e-5 * c**0.5)
    np.testing.assert_array_equal(probe.logits(features.double()).argmax(1), reference.predict(x.numpy()))


def test_single_precision_and_the_default_tolerance_find_the_same_classifier():
    features, labels = clusters(samples=1000, spread=1.5)
    probe = fit_linear_probe(features, labels, 4)
    assert probe.weight.dtype == torch.float32
    x = F.normalize(features, dim=1).numpy()
    reference = LogisticRegression(C=probe.c, tol=1e-9, max_iter=10_000).fit(x, labels.numpy())
    agree = (probe.logits(features).argmax(1).numpy() == reference.predict(x)).mean()
    assert agree > 0.99


def test_separable_classes_are_separated():
    train, test = clusters(spread=0.1), clusters(spread=0.1, seed=1)
    found = probe_accuracy(*train, *test, 4)
    assert found.accuracy == found.validation == 1.0
    assert found.c in probes.GRID


def test_random_labels_give_chance():
    generator = torch.Generator().manual_seed(3)
    features = torch.randn(2000, 16, generator=generator)
    labels = torch.randint(0, 4, (2000,), generator=generator)
    found = probe_accuracy(features[:1000], labels[:1000], features[1000:], labels[1000:], 4)
    # 1,000 draws at 1/4: standard deviation .0137
    assert found.accuracy == pytest.approx(0.25, abs=0.05)


def test_only_directions_of_features_count():
    features, labels = clusters()
    lengths = torch.rand(len(features), 1) + 0.5
    first = fit_linear_probe(features, labels, 4)
    second = fit_linear_probe(features * lengths, labels, 4)
    torch.testing.assert_close(first.weight, second.weight, atol=1e-2, rtol=1e-2)
    assert first.accuracy(features, labels) == first.accuracy(features * lengths, labels)


def test_the_same_input_gives_the_same_probe_and_stays_as_it_was():
    features, labels = clusters(spread=2.0)
    before = features.clone()
    first = fit_linear_probe(features, labels, 4, seed=5)
    assert fit_linear_probe(features.clone(), labels, 4, seed=5) is first  # remembered
    # A value of C named twice is another input, and so a fit of its own, with the same steps.
    second = fit_linear_probe(features, labels, 4, seed=5, grid=[*probes.GRID, probes.GRID[-1]])
    assert second is not first
    assert torch.equal(first.weight, second.weight) and torch.equal(first.bias, second.bias)
    assert (first.c, first.validation_accuracy) == (second.c, second.validation_accuracy)
    assert torch.equal(features, before)


def test_what_is_remembered_is_of_the_same_input_alone():
    features, labels = clusters(spread=2.0)
    known = fit_linear_probe(features, labels, 4)
    moved = features.clone()
    moved[0, 0] += 1.0
    for other in (
        fit_linear_probe(moved, labels, 4),
        fit_linear_probe(features, labels.roll(1), 4),
        fit_linear_probe(features, labels, 5),
        fit_linear_probe(features.double(), labels, 4),
        fit_linear_probe(features, labels, 4, seed=1),
        fit_linear_probe(features, labels, 4, grid=[1.0]),
    ):
        assert other is not known


def test_the_split_is_a_stratified_seeded_tenth():
    labels = np.repeat([0, 1, 2, 3], [400, 300, 200, 100])
    held_out = probes._held_out(labels, 0).numpy()
    assert np.bincount(labels[held_out]).tolist() == [40, 30, 20, 10]
    assert (held_out == probes._held_out(labels, 0).numpy()).all()
    assert (held_out != probes._held_out(labels, 1).numpy()).any()


def test_the_chosen_c_has_the_best_held_out_accuracy():
    features, labels = clusters(samples=300, width=64, spread=3.0)
    probe = fit_linear_probe(features, labels, 4)
    held_out = probes._held_out(labels.numpy(), 0)
    accuracies = {}
    for c in probes.GRID:
        x = F.normalize(features, dim=1).numpy()
        reference = LogisticRegression(C=c, tol=1e-8, max_iter=10_000).fit(x[~held_out], labels[~held_out])
        accuracies[c] = reference.score(x[held_out], labels[held_out])
    # one of the 30 held-out samples may fall to either side at the default tolerance
    assert accuracies[probe.c] >= max(accuracies.values()) - 1.01 / 30
    assert probe.validation_accuracy == pytest.approx(accuracies[probe.c], abs=1.01 / 30)


def test_a_class_with_one_sample_is_trained_on_and_one_without_is_never_predicted():
    features, labels = clusters(spread=0.1)
    features = torch.cat([features, 5 * torch.ones(1, 16)])
    labels = torch.cat([labels, torch.tensor([4])])
    probe = fit_linear_probe(features, labels, 6)
    assert probe.weight.shape == (6, 16)
    assert probe.accuracy(features, labels) == 1.0
    assert not (probe.logits(torch.randn(500, 16)).argmax(1) == 5).any()


def test_few_samples():
    features = torch.eye(4)
    # nothing can be held out of four classes with one sample each
    probe = fit_linear_probe(features, torch.arange(4), 4)
    assert probe.validation_accuracy is None
    assert probe.accuracy(features, torch.arange(4)) == 1.0
    # two classes with two samples each: one is held out
    probe = fit_linear_probe(features, torch.tensor([0, 0, 1, 1]), 2)
    assert probe.validation_accuracy in (0.0, 1.0)


@pytest.mark.parametrize("samples", [0, 5])
def test_one_class_is_refused_with_the_cure(samples):
    with pytest.raises(UserError, match="at least two classes: give the task more training data"):
        fit_linear_probe(torch.randn(samples, 4), torch.zeros(samples, dtype=torch.int64), 2)


def test_a_diverged_model_has_no_probe_accuracy():
    features, labels = clusters()
    features[0, 0] = torch.nan
    found = probe_accuracy(features, labels, features, labels, 4)
    assert found.accuracy is found.c is None
    with pytest.raises(ValueError, match="not finite"):
        fit_linear_probe(features, labels, 4)


def test_the_grid_may_be_another():
    features, labels = torch.randn(40, 5, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 3
    found = probe_accuracy(features, labels, features, labels, 3, grid=(1e-3, 0.5))
    assert found.c in (1e-3, 0.5)
    assert found.c == fit_linear_probe(features, labels, 3, grid=(0.5, 1e-3)).c
    assert probe_accuracy(features, labels, features, labels, 3).c in GRID


def test_features_that_have_collapsed_are_probed_like_any_others():
    """Nearly all are constant, and in single precision LAPACK's fast eigenvalues do not converge on these."""
    generator = torch.Generator().manual_seed(0)
    constant = torch.randn(1, 512, generator=generator).relu().repeat(60, 1)
    varied = torch.randn(60, 512, generator=generator) * (torch.rand(512, generator=generator) < 0.02)
    x = F.normalize(constant + 1e-4 * varied, dim=1)
    mean, spread, axes = probes._principal_axes(x)
    torch.testing.assert_close(axes.T @ axes, torch.eye(512), rtol=0, atol=1e-5)
    covariance = (x - mean).double().T @ (x - mean).double() / 60
    torch.testing.assert_close((axes * spread) @ axes.T, covariance.float(), rtol=0, atol=1e-12)
    assert fit_linear_probe(x, torch.arange(60) % 3, 3).weight.isfinite().all()
