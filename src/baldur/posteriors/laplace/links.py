"""Closed forms of the mean prediction for Gaussian outputs."""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from baldur.likelihoods import Likelihood


def probit(f: Float[Tensor, "n C"], covariance: Float[Tensor, "n C C"], likelihood: Likelihood) -> Tensor:
    """The probit approximation: outputs κ_c f_c with κ_c = (1 + (π/8) Σ_cc)^(-1/2).

    D. J. C. MacKay, The evidence framework applied to classification networks, Neural Computation, 1992.

    Args:
        f: Mean outputs.
        covariance: Σ of each item.
        likelihood: Of classes or labels.

    Returns:
        Log-probabilities: (n, C) for classes, (n, 2, K) for labels.
    """
    variance = covariance.diagonal(dim1=1, dim2=2)  # (n, C)
    return likelihood.log_probs(f / (1 + math.pi / 8 * variance).sqrt(), 1)


def bridge(f: Float[Tensor, "n C"], covariance: Float[Tensor, "n C C"]) -> Float[Tensor, "n C"]:
    """The Laplace bridge: the mean of the Dirichlet distribution that is nearest to a softmax of Gaussian outputs.

    α_c = (1 - 2/C + e^(f_c) Σ_l e^(-f_l) / C²) / Σ_cc, f and Σ given that the outputs sum to 0. (M. Hobbhahn, A.
    Kristiadi and P. Hennig, Fast predictive uncertainty for classification with Bayesian deep networks, UAI 2022.) For
    two classes it is the softmax of f.

    Args:
        f: Mean outputs.
        covariance: Σ of each item.

    Returns:
        Log-probabilities.
    """
    rows, total = covariance.sum(2), covariance.sum((1, 2))  # Σ1, (n, C), and 1ᵀΣ1, (n,)
    f = f - rows * (f.sum(1) / total)[:, None]  # (n, C)
    variance = covariance.diagonal(dim1=1, dim2=2) - rows**2 / total[:, None]  # (n, C)
    classes = f.shape[1]
    spread = f + torch.logsumexp(-f, 1, keepdim=True) - 2 * math.log(classes)
    floor = torch.tensor(1 - 2 / classes, dtype=f.dtype).log()  # -inf for two classes
    alpha = torch.logaddexp(floor, spread) - variance.log()
    return functional.log_softmax(alpha, 1)
