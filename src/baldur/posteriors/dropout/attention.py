"""Scaled dot-product attention with a mask on its weights, and vectorised over the samples."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


def attention(
    drop: Callable[[float, Tensor], Tensor],
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """softmax(q kᵀ / sqrt(d)) v with a function in place of the dropout on the weights.

    Args:
        drop: `(p, weights) -> Tensor`; not called for p = 0.
        query: (n, ..., L, d).
        key: (n, ..., S, d).
        value: (n, ..., S, v).
        attn_mask: A mask of visible positions, or a term for the logits; broadcasts against (n, ..., L, S).
        dropout_p: The rate p.
        is_causal: Whether nothing that comes later may be looked at.
        scale: Instead of 1 / sqrt(d).
        enable_gqa: Whether a head of keys serves several of queries.

    Returns:
        (n, ..., L, v).
    """
    if dropout_p == 0:
        settings: dict[str, Any] = {"is_causal": is_causal, "scale": scale, "enable_gqa": enable_gqa}
        if torch.is_grad_enabled() or query.is_nested or not query.ndim == key.ndim == value.ndim >= 3:
            return functional.scaled_dot_product_attention(query, key, value, attn_mask, **settings)
        if attn_mask is not None:
            attn_mask = attn_mask[(None,) * (query.ndim - attn_mask.ndim)]  # as many axes as the query
            attn_mask = attn_mask.expand(len(query), *attn_mask.shape[1:])  # (n, ..., L, S)
        fused: Tensor = _FoldedAttention.apply(query, key, value, attn_mask, settings)  # type: ignore[no-untyped-call]
        return fused
    if enable_gqa:
        key = key.repeat_interleave(query.size(-3) // key.size(-3), -3)  # (n, heads of the query, S, d)
        value = value.repeat_interleave(query.size(-3) // value.size(-3), -3)  # (n, heads of the query, S, v)
    scale = 1 / math.sqrt(query.size(-1)) if scale is None else scale
    logits = query @ key.transpose(-2, -1) * scale  # (n, ..., L, S)
    if is_causal:
        allowed = torch.ones(logits.shape[-2:], dtype=torch.bool, device=logits.device).tril()
        logits = logits.masked_fill(~allowed, -math.inf)
    if attn_mask is not None:
        logits = (
            logits.masked_fill(~attn_mask, -math.inf) if attn_mask.dtype == torch.bool else logits + attn_mask
        )
    weights = logits.softmax(-1)
    if attn_mask is not None:  # where nothing may be looked at PyTorch's kernels give 0
        weights = weights.masked_fill((logits == -math.inf).all(-1, keepdim=True), 0)
    return drop(dropout_p, weights) @ value


class _FoldedAttention(torch.autograd.Function):
    """The fused kernel, whose samples `torch.vmap` makes further items: on processors PyTorch has no such rule."""

    @staticmethod
    def forward(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, settings: Any) -> Tensor:
        return functional.scaled_dot_product_attention(query, key, value, mask, **settings)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """There is no gradient to prepare."""

    @staticmethod
    def vmap(
        info: Any, axes: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, settings: Any
    ) -> tuple[Tensor, int]:
        """The samples as part of the first axis."""
        query, key, value = (
            _fold(t, axis, info.batch_size) for t, axis in zip((query, key, value), axes, strict=False)
        )
        mask = None if mask is None else _fold(mask, axes[3], info.batch_size)
        out = _FoldedAttention.apply(query, key, value, mask, settings)  # type: ignore[no-untyped-call]
        return torch.unflatten(out, 0, (info.batch_size, -1)), 0  # (samples, n, ..., L, v)


def _fold(t: Tensor, axis: int | None, size: int) -> Tensor:
    """(n, ...) for each sample to (samples * n, ...)."""
    whole = t.unsqueeze(0).expand(size, *t.shape) if axis is None else t.movedim(axis, 0)  # (samples, n, ...)
    return whole.flatten(0, 1)  # (samples * n, ...)
