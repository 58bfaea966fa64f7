"""The logistic regression against scikit-learn's."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from cellkin.indexer.spaces.logistic import PENALTY, fit_logistic
from cellkin.space.arrays import Float32Matrix


@pytest.mark.parametrize("n_labels", [2, 5])
def test_the_regression_is_that_of_scikit_learn(n_labels: int) -> None:
    rng = np.random.default_rng(n_labels)
    labels = (np.arange(120) % n_labels).astype(np.int32)
    z: Float32Matrix = rng.standard_normal((120, 40), np.float32)
    z += 2 * np.eye(n_labels, 40, dtype=np.float32)[labels]
    coefficients, intercepts = fit_logistic(z, labels, n_labels)
    model = LogisticRegression(C=PENALTY, max_iter=100, tol=1e-3).fit(z, labels)
    wanted, at = model.coef_, model.intercept_
    if n_labels == 2:
        wanted, at = np.concatenate([-wanted, wanted]) / 2, np.concatenate([-at, at]) / 2
    np.testing.assert_allclose(coefficients, wanted, atol=2e-3)
    np.testing.assert_allclose(intercepts, at, atol=2e-3)
    logits = z @ coefficients.T + intercepts
    assert (logits.argmax(axis=1) == model.predict(z)).all()
