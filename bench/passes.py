"""Predictions with T samples, compared with baal's default and with one deterministic pass of the same network."""

import copy
import os
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from baldur import acquire, networks, score
from baldur.core.networks import channels_first, channels_last
from baldur.data import Normalise, from_arrays, load
from baldur.errors import BaldurError
from baldur.posteriors import Deterministic, Ensemble, MCDropout
from baldur.posteriors.dropout.masks import keep
from baldur.posteriors.dropout.products import affine
from baldur.training import Recipe, initialise, train
from bench import peers
from bench.measure import child, peak, say, seconds, show

PEERS = ("baal",)
T, BATCH, PEER_BATCH, REPEATS, TOP = 20, 128, 32, 5, 100
MEMBERS, POOL = 5, 60_000
NO_BFLOAT16 = "this processor has no bfloat16"

# Of each network: its data; images that are timed, that baal predicts, that are ranked; labels and steps of training;
# and the bars: baal's time over ours and ours over a pass, in float32 and in bfloat16.
GREY, COLOUR = ("mnist", (1, 28, 28)), ("cifar10", (3, 32, 32))
ROWS: dict[str, tuple[Any, ...]] = {
    "gal2017": (GREY, 1280, 128, 2048, 2000, 1e-3, (22, 1.6), (60, 1.0)),
    "batchbald2019": (GREY, 1280, 128, 2048, 2000, 1e-3, (6, 6), None),
    "vgg16": (COLOUR, 256, 32, 512, 500, 1e-4, (17, 1.4), (30, 1.4)),
    "resnet18": (COLOUR, 256, 32, 512, 500, 1e-3, (15, 1.1), None),
}


def images(data: str, shape: tuple[int, ...], n: int) -> tuple[str, Tensor, Tensor]:
    """n normalised training images and labels, where $BALDUR_DATA has them; else generated ones."""
    if os.environ.get("BALDUR_DATA"):
        try:
            found = load(data)
        except BaldurError as error:
            say(str(error))
        else:
            ((_, x),) = found.train.batches(np.arange(n), n)
            return data, x, torch.from_numpy(np.asarray(found.labels[:n]))
    random = np.random.default_rng(0)
    label = random.integers(10, size=n)
    means = random.standard_normal((10, shape[0], 4, 4))[label] + random.standard_normal((n, shape[0], 4, 4))
    smooth = functional.interpolate(torch.from_numpy(means).float(), shape[1:], mode="bilinear")
    return "generated images", smooth, torch.from_numpy(label)


def trained(name: str, x: Tensor, y: Tensor, learning_rate: float) -> nn.Module:
    """The named network after three epochs, its weights laid out as PyTorch does by itself."""
    network = initialise(partial(getattr(networks, name), tuple(x.shape[1:]), 10), 0)
    recipe = Recipe(epochs=3, learning_rate=learning_rate, device="cpu", precision="float32")
    train(network, x, y, recipe=recipe, seed=0)
    channels_first(network)
    return network.eval()


def each(function: Callable[[Tensor], Any], x: Tensor, batch: int = BATCH) -> Tensor:
    """What a function gives of images, a batch at a time."""
    with torch.inference_mode():
        return torch.cat([function(part) for part in x.split(batch)])


def slowly(network: nn.Module, x: Tensor, seed: int) -> Tensor:
    """The same samples by the plain network, one after the other: the masks are put in by hooks; (n, T, C)."""
    sites = [m for m in network.modules() if isinstance(m, nn.Dropout | nn.Dropout2d)]
    out = []
    for t in range(T):

        def masked(site: int, module: Any, inputs: tuple[Tensor], _: Tensor, t: int = t) -> Tensor:
            h = inputs[0]
            shape = (1, h.shape[1], 1, 1) if isinstance(module, nn.Dropout2d) else (1, *h.shape[1:])
            return h * keep(seed, site, range(t, t + 1), shape, module.p)[0] / (1 - module.p)

        hooks = [m.register_forward_hook(partial(masked, site)) for site, m in enumerate(sites)]
        out.append(torch.log_softmax(each(network, x), 1))
        for hook in hooks:
            hook.remove()
    return torch.stack(out, 1)


def operations(function: Callable[[Tensor], Any], x: Tensor) -> float:
    """Floating-point operations an image, of products and convolutions."""
    threads, onednn = torch.get_num_threads(), torch._C._get_mkldnn_enabled()
    torch.set_num_threads(1)  # the counter sees its own thread only, and PyTorch's own product
    torch._C._set_mkldnn_enabled(False)
    try:
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            function(x)
    finally:
        torch.set_num_threads(threads)
        torch._C._set_mkldnn_enabled(onednn)
    return counter.get_total_flops() / len(x)


def rates() -> dict[str, float]:
    """Operations a second of a product of two large matrices, the fastest that is known here."""
    matrices = torch.randn(2, 2048, 2048)
    known = {"float32": matrices.unbind(), "bfloat16": matrices.bfloat16().unbind()}
    with torch.inference_mode():
        return {kind: 2 * 2048**3 / min(seconds(partial(affine, *pair), 8)) for kind, pair in known.items()}


def in_bfloat16(function: Callable[[Tensor], Any]) -> Callable[[Tensor], Any]:
    """The function as scoring with that precision calls it."""

    def inside(x: Tensor) -> Any:
        with torch.autocast("cpu", torch.bfloat16):
            return function(x)

    return inside


def turns(runs: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """The median time of each, all in turn, after one round to warm up."""
    times = [{name: seconds(run)[0] for name, run in runs.items()} for _ in range(REPEATS + 1)][1:]
    return {name: median(row[name] for row in times) for name in runs}


def timed(
    plain: nn.Module, draws: dict[str, Callable[[Tensor], Any]], other: Any, x: Tensor, few: int
) -> dict[str, float]:
    """Seconds an image: of a pass, of each kind of draws, and of baal."""

    def peer() -> None:
        for part in x[:few].split(PEER_BATCH):
            other.predict_on_batch(part, T)

    last = channels_last(copy.deepcopy(plain))
    runs: dict[str, Callable[[], Any]] = {
        "pass": partial(each, lambda part: torch.log_softmax(plain(part), 1), x),
        "last": partial(each, lambda part: torch.log_softmax(last(part), 1), x),
        **{kind: partial(each, function, x) for kind, function in draws.items()},
    }
    if other is not None:
        runs["baal"] = peer
    return {name: t / (few if name == "baal" else len(x)) for name, t in turns(runs).items()}


def of(name: str, peer: bool) -> dict[str, Any]:
    """Everything about one network."""
    (data, shape), n, few, ranked, labels, rate, *_ = ROWS[name]
    source, x, y = images(data, shape, labels + max(n, ranked))
    plain = trained(name, x[:labels], y[:labels], rate)
    pool, x = x[labels : labels + ranked], x[labels : labels + n]
    posterior = MCDropout(plain)
    few_draws = posterior.draw(T, seed=1)
    kinds: dict[str, Callable[[Tensor], Any]] = {"float32": few_draws}
    if torch.ops.mkldnn._is_mkldnn_bf16_supported():
        kinds["bfloat16"] = in_bfloat16(few_draws)
    exact = slowly(plain, pool, seed=1)
    best = np.argsort(-acquire.bald(exact.double()).numpy(), kind="stable")[:TOP]
    agree = {}
    for kind, function in kinds.items():
        log_probs = each(function, pool)
        own = np.argsort(-acquire.bald(log_probs.double()).numpy(), kind="stable")[:TOP]
        apart = (log_probs.exp() - exact.exp()).abs()
        agree[kind] = len(np.intersect1d(own, best)), float(apart.max()), float(apart.mean())
    many = {"T = 100": posterior.draw(100, seed=1)} if name == "gal2017" else {}
    counted = {"pass": operations(plain, x[:BATCH]), "draws": operations(few_draws, x[:BATCH])}
    times = timed(plain, {**kinds, **many}, peers.sampling(plain) if peer else None, x, few)
    return {"source": source, "times": times, "agree": agree, "operations": counted, "rates": rates()}


def ensemble(peer: bool) -> dict[str, Any]:
    """VGG-16 five times."""
    shape = ROWS["vgg16"][0][1]
    _, x, _ = images(*ROWS["vgg16"][0], 128)
    members = [initialise(partial(networks.vgg16, shape, 10), seed).eval() for seed in range(MEMBERS)]
    draws = Ensemble([Deterministic(member) for member in members]).draw()
    other = peers.ensemble(members) if peer else None
    whole = torch.stack([each(lambda part, m=m: torch.log_softmax(m(part), 1), x) for m in members], 1)
    times = timed(members[0], {"float32": draws}, other, x, 2 * PEER_BATCH)
    counted = operations(members[0], x[:PEER_BATCH])
    return {
        "times": times,
        "apart": float((each(draws, x).exp() - whole.exp()).abs().max()),
        "operations": {"pass": counted, "draws": MEMBERS * counted},
        "rates": rates(),
    }


def pooled() -> dict[str, float]:
    """BALD over a pool of as many images as MNIST has for training, and a pass over it; what is on them is all one."""
    x = np.random.default_rng(0).integers(0, 256, (POOL, 1, 28, 28), np.uint8)
    pool = from_arrays(x, transform=Normalise((0.1307,), (0.3081,)))
    plain = initialise(partial(networks.gal2017, (1, 28, 28), 10), 0).eval()
    draws = MCDropout(plain).draw(T, seed=0)

    def once() -> None:
        with torch.inference_mode():
            for _, part in pool.batches(np.arange(POOL), BATCH):
                torch.log_softmax(plain(part), 1)

    scored = partial(score.predict, draws, pool, acquire.bald, batch_size=BATCH)
    draws(next(iter(pool.batches(np.arange(4), 4)))[1])
    return {"rise": peak(scored), **turns({"pass": once, "bald": scored})}


def floor(found: dict[str, Any], kind: str) -> str:
    """The time that the operations would take at the rate of a large product, and ours against it."""
    least = found["operations"]["draws"] / found["rates"][kind]
    took = found["times"][kind]
    own, one = (found["operations"][what] / 1e6 for what in ("draws", "pass"))
    words = f"{own:.1f} million operations an image (a pass: {one:.1f}) at "
    words += f"{found['rates'][kind] / 1e9:.0f} GFLOP/s: {show(1e3 * least)} for 1,000 images; "
    return words + f"we took {took / least:.2f} times that"


def over_a_pass(times: dict[str, float], kind: str) -> str:
    """Against the network as PyTorch lays it out, and against the best layout that it could be given."""
    own, one, best = times[kind], times["pass"], times["last"]
    words = f"{show(1e3 * own)} / {show(1e3 * one)} for 1,000 images = {own / one:.2f}"
    return f"{words}, {own / best:.2f} of a pass with the channels last"


def sampled(name: str) -> list[tuple[str, str, str]]:
    """The rows of one network."""
    say(name)
    found = child("bench.passes:of", name=name, peer=peers.named("baal") is not None)
    times, rows = found["times"], []
    for kind, bars in zip(("float32", "bfloat16"), ROWS[name][-2:], strict=True):
        what = f"{name}, T = {T}, {kind}, {found['source']}"
        if kind not in times:
            rows.append((what, NO_BFLOAT16, "-"))
            continue
        own = show(1e3 * times[kind])
        if "baal" in times:
            ratio = times["baal"] / times[kind]
            speed = f"{show(1e3 * times['baal'])} / {own} for 1,000 images = {ratio:.1f}x"
        else:
            speed = peers.missing("baal")
        one = over_a_pass(times, kind)
        same, most, mean = found["agree"][kind]
        apart = f"{same} of {TOP}; probabilities within {most:.1g}, {mean:.1g} in the mean"
        rows += [
            (f"{what}: baal's time over ours", speed, f"at least {bars[0]}x" if bars else "-"),
            (f"{what}: our time over a float32 pass", one, f"at most {bars[1]}" if bars else "-"),
            (f"{what}: the floor", floor(found, kind), "1 is the limit of the processor"),
            (
                f"{what}: the {TOP} largest BALD, beside one sample after the other",
                apart,
                f"{TOP} in float32",
            ),
        ]
    if "T = 100" in times:
        many = over_a_pass(times, "T = 100")
        rows.append((f"{name}, T = 100, float32: our time over a pass", many, "at most 5"))
    return rows


def rows() -> list[tuple[str, str, str]]:
    """(what, measured, bar) of each figure."""
    every = [row for name in ROWS for row in sampled(name)]
    say(f"{MEMBERS} members")
    found = child("bench.passes:ensemble", peer=peers.named("baal") is not None)
    times, what = found["times"], f"deep ensemble of {MEMBERS}, vgg16, float32"
    own, speed = show(1e3 * times["float32"]), peers.missing("baal")
    if "baal" in times:
        ratio = times["baal"] / times["float32"]
        speed = f"{show(1e3 * times['baal'])} / {own} for 1,000 images = {ratio:.2f}x"
    one = over_a_pass(times, "float32")
    one += f" (probabilities within {found['apart']:.1g} of the plain members')"
    say("a pool")
    pool = child("bench.passes:pooled")
    ratio = pool["bald"] / pool["pass"]
    return [
        *every,
        (f"{what}: baal's time over ours", speed, "at least 1.4x"),
        (f"{what}: our time over a pass of one member", one, "at most 5.2"),
        (f"{what}: the floor", floor(found, "float32"), "1 is the limit of the processor"),
        (
            f"gal2017, T = {T}, BALD over a pool of {POOL:,}: our time over a pass",
            f"{show(pool['bald'])} / {show(pool['pass'])} = {ratio:.2f}",
            "at most 1.6",
        ),
        ("peak memory of that above the loaded data", f"{pool['rise']:.0f} MiB", "at most 1,024 MiB"),
    ]
