import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from baldur.data import from_arrays, from_dataset, in_memory
from baldur.data.scaling import scaled, spreads_of, step_of, uneven

RNG = np.random.default_rng(0)
Y = np.arange(60) % 2


def everything(pool):
    return torch.cat([x for _, x in pool.batches(np.arange(len(pool)), 7)]).numpy()


def of(x, **told):
    return scaled(in_memory(from_arrays(x), Y, test_fraction=0.25), **told)


def test_vectors_are_standardised_by_the_pool_alone():
    x = RNG.normal([5, 1e6, 3], [1, 1000, 0], size=(60, 3))
    raw = in_memory(from_arrays(x), Y, test_fraction=0.25)
    data = scaled(raw)
    pool = everything(raw.train).astype(np.float64)
    mean, std = pool.mean(0), np.where(pool.std(0) > 0, pool.std(0), 1)
    assert everything(data.train) == pytest.approx((pool - mean) / std, abs=1e-5)
    assert everything(data.test) == pytest.approx((everything(raw.test) - mean) / std, abs=1e-5)
    changed = x.copy()
    changed[[int(i) for i in raw.test.ids]] += 100
    other = of(changed)
    assert other.preprocessing["scaling"] == data.preprocessing["scaling"]  # no test item was looked at
    assert (data.train.ids, data.train.groups, len(data.train)) == (raw.train.ids, None, len(raw.train))


def test_kept_statistics_are_used_again():
    first = of(RNG.normal(size=(60, 2)))
    again = of(RNG.normal(size=(60, 2)), kept=first.preprocessing["scaling"])
    assert again.preprocessing["scaling"] == first.preprocessing["scaling"]
    assert of(RNG.normal(size=(60, 2)), kept={}).preprocessing["scaling"] == {}


@pytest.mark.parametrize(
    ("x", "scale"),
    [
        (RNG.integers(0, 256, (60, 5), dtype=np.uint8), 255),
        (RNG.integers(0, 256, (60, 3, 4, 4), dtype=np.uint8), 255),
        (RNG.integers(0, 256, (60, 1, 4, 4)), 255),
        (RNG.integers(0, 60_000, (60, 1, 4, 4)), 65535),
        (RNG.integers(0, 100_000, (60, 1, 4, 4)), None),
    ],
)
@pytest.mark.parametrize("make", [lambda x: (from_arrays(x), Y), lambda x: from_dataset(pairs(x))])
def test_pixels_come_from_0_to_1(x, scale, make):
    x.flat[0] = 255 if x.max() < 256 else x.flat[0]
    pool, y = make(x)
    raw = in_memory(pool, y, test_fraction=0.25)
    data = scaled(raw)
    largest = scale or everything(raw.train).max()
    assert everything(data.train) == pytest.approx(everything(raw.train) / np.float32(largest), abs=1e-6)


def test_small_bytes_in_rows_are_numbers_and_no_pixels():
    x = RNG.integers(0, 17, (60, 4), dtype=np.uint8)
    for pool, y in ((from_arrays(x), Y), from_dataset(pairs(x)), from_dataset(list(zip(x, Y, strict=True)))):
        data = scaled(in_memory(pool, y, test_fraction=0.25, images=True))
        assert everything(data.train).std(0) == pytest.approx(np.ones(4), abs=1e-5)


def pairs(x):
    return TensorDataset(torch.from_numpy(x), torch.from_numpy(Y))


@pytest.mark.parametrize(
    "x", [RNG.normal(size=(60, 1, 4, 4)), RNG.normal(size=(60, 4, 4)), RNG.integers(-5, 5, (60, 1, 4, 4))]
)
def test_other_items_stay_as_they_are(x):
    data = of(x)
    assert data.preprocessing["scaling"] == {}
    assert (
        everything(data.train) == everything(in_memory(from_arrays(x), Y, test_fraction=0.25).train)
    ).all()


def test_integers_are_numbers_or_tokens():
    x = RNG.integers(0, 90, (60, 3))
    assert everything(of(x).train).mean(0) == pytest.approx(np.zeros(3), abs=1e-6)
    assert everything(of(x, tokens=True).train).dtype == np.int64
    assert everything(of(x, standardise=False).train).dtype == np.float32
    assert of({"x": x, "y": x}).preprocessing["scaling"] == {}


def test_values_that_are_not_finite_and_unreadable_items_are_passed_over():
    x = RNG.normal(size=(60, 2)).astype(np.float32)

    class Holes:
        def __len__(self):
            return 60

        def __getitem__(self, i):
            if self.gone == i:
                raise OSError("gone")
            return (np.full(2, np.nan, np.float32) if i == 7 else x[i]), int(Y[i])

    source = Holes()
    source.gone = None
    pool, y = from_dataset(source)
    data = in_memory(pool, y, test_fraction=0.25)
    source.gone = int(data.train.ids[0])
    rest = [int(i) for i in data.train.ids if int(i) not in (7, source.gone)]
    assert scaled(data).preprocessing["scaling"]["mean"] == pytest.approx(x[rest].astype(float).mean(0))


def test_columns_whose_scales_differ_are_noticed():
    assert uneven(spreads_of(of(RNG.normal(0, [1, 20], (60, 2)), standardise=False)))
    assert not uneven(spreads_of(of(RNG.normal(0, [1, 100], (60, 2)))))
    assert not uneven(spreads_of(of(RNG.normal(0, [1, 2, 0], (60, 3)), standardise=False)))
    assert not len(spreads_of(of(RNG.normal(size=(60, 1, 4, 4)))))


def test_a_step_is_rebuilt_from_its_values():
    x = torch.tensor([[1.0, 4.0]])
    assert step_of({}) is None
    assert step_of({"scale": 4.0})(x).tolist() == [[0.25, 1.0]]
    assert step_of({"mean": [1, 2], "std": [1, 4]})(x).tolist() == [[0.0, 0.5]]
