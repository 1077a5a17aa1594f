"""The mean of a Gaussian posterior over a last layer: it lies further out than the mode if labels are few."""

import torch
from torch import Tensor

from baldur.posteriors.laplace.curvature import Curvature
from baldur.posteriors.laplace.last_layer import LastLayer

_ITEMS = 256
_PAIRS = 2**13  # of opposite samples, for all items together
_MOST = 10.0


def best_factor(
    last: LastLayer, y: Tensor, weights: Tensor, h: Curvature, prior_precision: float, temperature: float
) -> float:
    """The factor α of the mode that gives the mean with the largest evidence lower bound, from 1 to 10.

    ELBO(α) = E_q[log p(D | W)]/τ - ½δα²‖W_MAP‖² + const, with q = N(αW_MAP, (H/τ + δI)⁻¹).

    The posterior of a classifier that fits its few labels is skewed: towards smaller weights it ends soon, and towards
    larger ones it falls slowly, as the prior does. So a Gaussian around the mode has most of its mass where the
    training labels are wrong. With many labels, or a likelihood of numbers, α is 1.

    Args:
        last: The last layer and its inputs. With more than 256 items, samples are taken for a fixed random part only.
        y: The labels.
        weights: W_MAP.
        h: H.
        prior_precision: δ.
        temperature: τ.

    Returns:
        α.
    """
    from scipy.optimize import minimize_scalar

    generator = torch.Generator().manual_seed(0)
    counted = last.counts.nonzero()[:, 0]
    some = counted[torch.randperm(len(counted), generator=generator)[:_ITEMS]]
    inputs, counts = last.inputs[some], last.counts[some]
    whole = last.counts.sum() / counts.sum()
    f = inputs @ weights.T  # (m, C)
    covariance = h.outputs_covariance(inputs, 1 / (h.values / temperature + prior_precision))
    noise = torch.randn(len(f), _PAIRS // len(f), f.shape[1], dtype=f.dtype, generator=generator)
    away = torch.cat([noise, -noise], 1) @ _root(covariance)  # (m, T, C)
    labels = y[some].repeat_interleave(away.shape[1], 0)

    def loss(factor: float) -> float:
        outputs = factor * f[:, None]  # (m, 1, C)
        each = last.likelihood.losses((outputs + away).reshape(-1, *last.shape), labels)  # (m T,)
        mean = last.likelihood.losses(outputs.reshape(-1, *last.shape), y[some])  # (m,)
        spread = whole * ((each.view(len(f), -1).mean(1) - mean) * counts).sum()
        expected = spread - last.log_likelihood(factor * weights, y)
        return float(expected / temperature + prior_precision / 2 * factor**2 * weights.square().sum())

    found = minimize_scalar(loss, bounds=(1, _MOST), method="bounded", options={"xatol": 0.01})
    return float(found.x) if float(found.fun) < loss(1.0) else 1.0


def _root(covariance: Tensor) -> Tensor:
    """The symmetric root of each matrix."""
    values, vectors = torch.linalg.eigh((covariance + covariance.mT) / 2)
    root: Tensor = (vectors * values.clamp(min=0).sqrt()[:, None, :]) @ vectors.mT
    return root
