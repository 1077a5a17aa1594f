"""The curvature of a loss in the weights of a network's last layer, as its eigenvalues and eigenvectors."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from baldur.errors import InvalidArgument
from baldur.posteriors.laplace.last_layer import LastLayer, eigen, information

Structure = Literal["full", "kronecker", "diagonal"]

_BATCH = 256
_MOST_WEIGHTS = 4096  # of the full structure: 4,090 took 30 seconds on one core, and time grows with the cube
_STEPS = 20  # of L-BFGS before the coordinates are chosen anew
_ROUNDS = 20
_LEAST = 1e-7  # nats a round; what gains less is at the mode


@dataclass(frozen=True)
class Curvature:
    """The curvature of the loss: H = Σ_n w_n Λ_n ⊗ φ̃_n φ̃_nᵀ, over C outputs and D inputs.

    If the layer has a bias, the last input is the constant 1.

    With values h and orthogonal vectors V, H = V diag(h) Vᵀ. The axes of h are C and D.

    Args:
        structure: "full"; "kronecker", H ≈ B ⊗ A; or "diagonal".
        values: h, (C, D), float64, not negative.
        vectors: For the full structure, V, (CD, CD). For the Kronecker structure, those of B, (C, C), and of A, (D, D).
    """

    structure: Structure
    values: Float[Tensor, "C D"]
    vectors: tuple[Tensor, ...]

    def log_determinant(self, scale: float) -> float:
        """log det(I + sH).

        Args:
            scale: s.

        Returns:
            The logarithm.
        """
        return float((scale * self.values).log1p().sum())

    def scaled(
        self, factors: Float[Tensor, "C D"], weights: Float[Tensor, "*T C D"]
    ) -> Float[Tensor, "*T C D"]:
        """V diag(factors) Vᵀ times each of T vectors of weights.

        Args:
            factors: Of each eigenvector.
            weights: The vectors of weights.

        Returns:
            The products.
        """
        if self.structure == "diagonal":
            return factors * weights
        if self.structure == "full":
            (v,) = self.vectors
            along = weights.flatten(-2) @ v * factors.flatten()  # (..., CD), along the eigenvectors
            return (along @ v.T).view_as(weights)  # (..., C, D)
        b, a = self.vectors
        return b @ (factors * (b.T @ weights @ a)) @ a.T  # (..., C, D)

    def outputs_covariance(
        self, inputs: Float[Tensor, "n D"], factors: Float[Tensor, "C D"]
    ) -> Float[Tensor, "n C C"]:
        """(I ⊗ φ̃ᵀ) V diag(factors) Vᵀ (I ⊗ φ̃) of each item.

        Args:
            inputs: φ̃.
            factors: Of each eigenvector.

        Returns:
            The covariances of the outputs.
        """
        if self.structure == "diagonal":
            return torch.diag_embed(inputs**2 @ factors.T)  # (n, C, C)
        if self.structure == "full":
            (v,) = self.vectors
            each = torch.einsum("nd,cdk->nck", inputs, v.view(*factors.shape, -1))  # (n, C, CD)
            return (each * factors.flatten()) @ each.mT  # (n, C, C)
        b, a = self.vectors
        variances = (inputs @ a) ** 2 @ factors.T  # (n, C)
        return (b * variances[:, None, :]) @ b.T  # (n, C, C)


def curvature(
    last: LastLayer, weights: Float[Tensor, "C D"], structure: Structure = "kronecker"
) -> Curvature:
    """The Fisher information of the items in the last layer's weights; no label is needed.

    H = Σ_n w_n Λ_n ⊗ φ̃_n φ̃_nᵀ with Λ_n the Fisher information of item n's outputs. For a last layer this is the
    generalised Gauss-Newton matrix, and the Hessian where the outputs are natural parameters (classes, labels).
    "kronecker" is B ⊗ A with A the weighted mean of φ̃φ̃ᵀ and B = Σ_n w_n Λ_n (H. Ritter, A. Botev and D. Barber, A
    scalable Laplace approximation for neural networks, ICLR 2018).

    Args:
        last: The last layer and its inputs.
        weights: The weights of the layer.
        structure: The structure of H.

    Returns:
        The curvature.

    Raises:
        InvalidArgument: There is no such structure, or the full one is too large.
    """
    check(structure, weights)
    if structure == "kronecker":
        a_values, a_vectors = last.second_moment
        b_values, b_vectors = eigen(_sum(info.sum(0) for _, info in _parts(last, weights)))
        values = b_values[:, None] * a_values  # (C, D): eigenvalues of B ⊗ A are products
        return Curvature(structure, values, (b_vectors, a_vectors))
    if structure == "diagonal":
        parts = _parts(last, weights)
        values = _sum(info.diagonal(dim1=1, dim2=2).T @ phi**2 for phi, info in parts)  # (C, D)
        return Curvature(structure, values, ())
    values, vectors = eigen(_full(last, weights))
    return Curvature(structure, values.view(weights.shape), (vectors,))  # values (C, D)


def _log_determinant(last: LastLayer, weights: Tensor, h: Curvature | Structure, scale: float) -> float:
    """log det(I + sH), without the eigenvectors of the full structure."""
    if isinstance(h, Curvature):
        return h.log_determinant(scale)
    if h != "full":
        return curvature(last, weights, h).log_determinant(scale)
    check(h, weights)
    whole = _full(last, weights)
    root, failed = torch.linalg.cholesky_ex(torch.eye(len(whole), dtype=whole.dtype) + scale * whole)
    if int(failed):  # s is so large that rounding leaves eigenvalues below 0
        return float((scale * eigen(whole)[0]).log1p().sum())
    return 2 * float(root.diagonal().log().sum())


def mode(
    last: LastLayer, weights: Float[Tensor, "C D"], y: Tensor, prior_precision: float, temperature: float
) -> Float[Tensor, "C D"]:
    """argmax_W Σ_n w_n log p(y_n | W)/τ - ½δ‖W‖²; a convex problem for classes and labels.

    By L-BFGS in coordinates in which the Kronecker-factored curvature at the beginning, with that of the prior, is the
    identity. They are chosen anew every few steps: where the loss is flat they are those of the prior alone.

    Args:
        last: The last layer and its inputs.
        weights: The start of the search.
        y: The labels.
        prior_precision: δ.
        temperature: τ.

    Returns:
        The mode.
    """
    before = math.inf
    for _ in range(_ROUNDS):
        weights, loss = _nearer(last, weights, y, prior_precision, temperature)
        if before - loss < _LEAST:
            break
        before = loss
    return weights


def _nearer(
    last: LastLayer, weights: Tensor, y: Tensor, prior_precision: float, temperature: float
) -> tuple[Tensor, float]:
    """Weights nearer to the mode, and -log p(D | W)/τ + ½δ‖W‖² there."""
    h = curvature(last, weights)
    root = (h.values / temperature + prior_precision).rsqrt()
    z = torch.zeros_like(weights).requires_grad_()
    search = torch.optim.LBFGS([z], max_iter=_STEPS, tolerance_grad=1e-6, line_search_fn="strong_wolfe")

    def value() -> Tensor:
        w = weights + h.scaled(root, z)
        return prior_precision / 2 * w.square().sum() - last.log_likelihood(w, y) / temperature

    def closure() -> Tensor:
        search.zero_grad()
        loss = value()
        torch.autograd.backward(loss)
        return loss

    with torch.enable_grad():
        search.step(closure)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        return weights + h.scaled(root, z), float(value())


def evidence(
    last: LastLayer,
    y: Tensor,
    weights: Tensor,
    h: Curvature | Structure,
    prior_precision: float,
    temperature: float,
) -> float:
    """The logarithm of the marginal likelihood: log p(D | W)/τ - ½ (log det(H/τ + δI) - CD log δ + δ‖W‖²).

    Args:
        last: The last layer and its inputs.
        y: The labels.
        weights: W, the mode.
        h: H, or its structure; then H is computed from the items at W.
        prior_precision: δ.
        temperature: τ.

    Returns:
        Nats.
    """
    scale = 1 / (temperature * prior_precision)
    occam = _log_determinant(last, weights, h, scale) + prior_precision * weights.square().sum()
    return float(last.log_likelihood(weights, y) / temperature - occam / 2)


def most_likely(evidence: Callable[[float], float]) -> float:
    """The prior precision with the largest evidence, in [e^-10, e^12].

    Args:
        evidence: The evidence as a function of the prior precision.

    Returns:
        The prior precision.
    """
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(
        lambda log_delta: -evidence(math.exp(log_delta)),
        bounds=(-10, 12),
        method="bounded",
        options={"xatol": 0.02},
    )
    return math.exp(float(found.x))


def check(structure: str, weights: Tensor) -> None:
    """Raise an error if a structure does not exist or is too large.

    Args:
        structure: Its name.
        weights: Those of the layer.

    Raises:
        InvalidArgument: The structure does not exist or is too large.
    """
    if structure not in get_args(Structure):
        raise InvalidArgument(f"structure is full, kronecker or diagonal, not {structure!r}")
    if structure == "full" and weights.numel() > _MOST_WEIGHTS:
        raise InvalidArgument(
            f"the last layer has {weights.numel():,} weights, and the full structure that number squared; use kronecker"
        )


def _parts(last: LastLayer, weights: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """φ̃ (m, D) and w Λ (m, C, C) of the items, some at a time."""
    outputs = last.outputs(weights)
    for start in range(0, len(outputs), _BATCH):
        part = slice(start, start + _BATCH)
        yield (
            last.inputs[part],
            last.counts[part, None, None] * information(outputs[part], last.likelihood),  # (m, C, C)
        )


def _full(last: LastLayer, weights: Tensor) -> Tensor:
    """Σ_n Λ_n ⊗ φ̃_n φ̃_nᵀ, (CD, CD), one column of blocks at a time."""
    c, d = weights.shape
    whole = weights.new_zeros(c * d, c, d)
    for phi, info in _parts(last, weights):
        for k, row in enumerate(info.unbind(1)):
            weighted = (row[:, :, None] * phi[:, None, :]).flatten(1)  # (m, CD): row k of Λ_n, by φ̃_n
            whole[:, k] += weighted.T @ phi  # (CD, D)
    return whole.view(c * d, c * d)  # (CD, CD)


def _sum(parts: Iterator[Tensor]) -> Tensor:
    total = next(parts)
    for part in parts:
        total = total + part
    return total
