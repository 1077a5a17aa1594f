"""The time of an epoch in `baldur.training`, divided by that of a bare PyTorch loop over the same tensors."""

import itertools
import time
from functools import partial
from statistics import median

import torch
from torch import nn
from torch.nn import functional

from baldur import networks
from baldur.core.networks import channels_last
from baldur.training import Recipe, initialise, train

EPOCHS = 8
DEMO = Recipe(epochs=20, epoch_size=256, batch_size=32, learning_rate=3e-3, device="cpu", precision="float32")
REPEATS = 7
CASES = {
    "cnn8, 200 digits": (networks.cnn8, (1, 8, 8), 200),
    "mlp, 200 vectors": (networks.mlp, (64,), 200),
    "gal2017, 200 images": (networks.gal2017, (1, 28, 28), 200),
    "gal2017, 1000 images": (networks.gal2017, (1, 28, 28), 1000),
    "cnn32, 200 images": (networks.cnn32, (3, 32, 32), 200),
}


def bare(network: nn.Module, x: torch.Tensor, y: torch.Tensor) -> None:
    """The loop that everyone writes first."""
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, weight_decay=1e-4)
    network.train()
    for _ in range(EPOCHS):
        for chosen in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            loss = functional.cross_entropy(network(x[chosen]), y[chosen])
            loss.backward()
            optimizer.step()


def floor(network: nn.Module, x: torch.Tensor, y: torch.Tensor) -> None:
    """The steps of a fit of `make demo` and nothing else, with the fastest that PyTorch's classes offer."""
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3, weight_decay=1e-4, fused=True)
    network.train()
    for _ in range(DEMO.epochs):
        for chosen in (torch.randperm(DEMO.epoch_size) % len(x)).split(DEMO.batch_size):
            optimizer.zero_grad(set_to_none=True)
            functional.cross_entropy(network(x[chosen]), y[chosen]).backward()
            optimizer.step()


def demo() -> tuple[str, str, str]:
    """A step of the digits network, in processor time: a busy machine disturbs it little."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    x, y = torch.randn(120, 1, 8, 8), torch.arange(120) % 10
    build = partial(networks.cnn8, (1, 8, 8), 10)
    steps = DEMO.epochs * -(-DEMO.epoch_size // DEMO.batch_size)
    ours, plain = [], []
    for seed in range(2 * REPEATS):
        plain.append(processor(partial(floor, channels_last(initialise(build, seed)), x, y)) / steps)
        ours.append(processor(partial(train, initialise(build, seed), x, y, recipe=DEMO, seed=seed)) / steps)
    torch.set_num_threads(threads)
    ratio = median(o / p for o, p in list(zip(ours, plain, strict=True))[1:])
    return (
        "a step of a fit of `make demo`, one thread: processor time, against the bare steps with PyTorch's fused Adam",
        f"{1e6 * median(ours):.0f} µs / {1e6 * median(plain):.0f} µs = {ratio:.2f}",
        "at most 1.1",
    )


def processor(run) -> float:
    """Processor time of a call."""
    start = time.process_time()
    run()
    return time.process_time() - start


def seconds(run) -> float:
    """Wall-clock time of a call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def rows() -> list[tuple[str, str, str]]:
    """(what, measured, bar) of each case."""
    lines = []
    for name, (factory, shape, n) in CASES.items():
        x, y = torch.randn(n, *shape), torch.arange(n) % 10
        build = partial(factory, shape, 10)
        recipe = Recipe(epochs=EPOCHS, epoch_size=1, device="cpu", precision="float32")
        times: dict[str, list[float]] = {"bare": [], "ours": []}
        for seed in range(REPEATS):  # turn by turn, so that both see the same machine
            times["bare"].append(seconds(partial(bare, initialise(build, seed), x, y)))
            times["ours"].append(
                seconds(partial(train, initialise(build, seed), x, y, recipe=recipe, seed=seed))
            )
        ratio = median(o / b for b, o in itertools.islice(zip(*times.values(), strict=True), 1, None))
        ms = {kind: 1e3 * median(values) / EPOCHS for kind, values in times.items()}
        figure = f"{ms['ours']:.1f} ms / {ms['bare']:.1f} ms = {ratio:.2f}"
        lines.append((f"an epoch of training, {name}, against a bare PyTorch loop", figure, "at most 1.2"))
    return [*lines, demo()]
