"""MC-dropout of VGG-16 over CIFAR-10's training images on a GPU, if there is one."""

from functools import partial
from statistics import median
from typing import Any

import numpy as np
import torch

from baldur import acquire, networks, score
from baldur.data import Normalise, from_arrays
from baldur.posteriors import MCDropout
from baldur.training import initialise
from bench.measure import seconds, show
from bench.passes import operations

N, T, BATCH, REPEATS = 50_000, 20, 2500, 5
WHAT = f"BALD by MC-dropout, VGG-16, {N:,} images of 3x32x32, T = {T}, bfloat16, read from memory as bytes"


def images() -> np.ndarray:
    """As many images as CIFAR-10 has for training; what is on them does not matter to the clock."""
    return np.random.default_rng(0).integers(0, 256, (N, 3, 32, 32), np.uint8)


def rate(device: torch.device) -> float:
    """Operations a second of a product of two large matrices in bfloat16."""
    a, b = torch.randn(2, 8192, 8192, device=device, dtype=torch.bfloat16).unbind()

    def product() -> None:
        a @ b
        torch.cuda.synchronize()

    product()
    return 2 * 8192**3 / min(seconds(product, 10))


def rows() -> list[tuple[str, str, str]]:
    """(what, measured, bar) of each figure."""
    if not torch.cuda.is_available():
        return [(WHAT, "no graphics card was at hand", "at most 1 s on an H100 or H200")]
    device = torch.device("cuda")
    pool = from_arrays(images(), transform=Normalise((0.49, 0.48, 0.45), (0.25, 0.24, 0.26)))
    network = initialise(partial(networks.vgg16, (3, 32, 32), 10), 0).eval()
    some = next(iter(pool.batches(np.arange(8), 8)))[1]
    needed = N * operations(MCDropout(network).draw(T, seed=0), some)
    draws = MCDropout(network.to(device)).draw(T, seed=0)

    def sampled(precision: Any) -> None:
        score.predict(draws, pool, acquire.bald, batch_size=BATCH, precision=precision)
        torch.cuda.synchronize()

    kinds = ("bfloat16", "float32")
    times = [{kind: seconds(partial(sampled, kind))[0] for kind in kinds} for _ in range(REPEATS + 1)][1:]
    best = median(row["bfloat16"] for row in times)
    peak = rate(device)
    told = (
        f"{show(best)} on {torch.cuda.get_device_name(device)} (float32: {show(median(r['float32'] for r in times))}); "
        f"{needed / best / 1e12:.0f} of the {peak / 1e12:.0f} Top/s of a large product: {needed / best / peak:.1%}"
    )
    return [(WHAT, told, "at most 1 s on an H100 or H200")]
