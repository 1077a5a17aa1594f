import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baldur.posteriors.dropout.masks import keep, uniforms


def test_a_mask_is_the_same_for_ever():
    # Frozen: a change of these numbers would change the picks of every run that is begun again.
    numbers = uniforms(0, 0, range(2), (3,))
    assert numbers.tolist() == uniforms(0, 0, range(2), (3,)).tolist()
    assert numbers == pytest.approx(FROZEN, abs=1e-15)


FROZEN = np.array(
    [
        [0.15983806137231993, 0.16167510175014688, 0.584093712428634],
        [0.5685844952886513, 0.3820118913336411, 0.2852150953596585],
    ]
)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**63 - 1), site=st.integers(0, 5), a=st.integers(0, 5), b=st.integers(1, 5))
def test_samples_are_prefixes_and_slices(seed, site, a, b):
    whole = uniforms(seed, site, range(a + b), (4, 3))
    assert (uniforms(seed, site, range(a, a + b), (4, 3)) == whole[a:]).all()


@settings(deadline=None, max_examples=25)
@given(
    shape=st.lists(st.integers(1, 6), min_size=1, max_size=3),
    more=st.lists(st.integers(0, 3), min_size=3, max_size=3),
)
def test_padding_moves_no_mask_along_any_axis(shape, more):
    padded = [size + extra for size, extra in zip(shape, more, strict=False)]
    inner = uniforms(1, 2, range(2), padded)[(slice(None), *map(slice, shape))]
    assert (inner == uniforms(1, 2, range(2), shape)).all()


def test_numbers_are_uniform_and_independent():
    numbers = uniforms(3, 1, range(50), (64, 64))
    n = numbers.size
    assert abs(numbers.mean() - 0.5) < 5 * np.sqrt(1 / 12 / n)
    counts = np.histogram(numbers, bins=64, range=(0, 1))[0]
    assert ((counts - n / 64) ** 2 / (n / 64)).sum() < 63 + 5 * np.sqrt(2 * 63)
    centred = numbers - 0.5
    for shifted in (np.roll(centred, 1, axis) for axis in range(3)):
        assert abs((centred * shifted).mean()) < 5 / 12 / np.sqrt(n)
    other = uniforms(3, 2, range(50), (64, 64)) - 0.5
    assert abs((centred * other).mean()) < 5 / 12 / np.sqrt(n)


@pytest.mark.parametrize("p", [0.0, 0.25, 0.5, 1.0])
def test_units_are_kept_with_probability_one_minus_p(p):
    kept = keep(0, 0, range(20), (5000,), p).double().mean()
    assert abs(float(kept) - (1 - p)) < 5 * np.sqrt(0.25 / 100_000) * (p not in (0, 1)) + 1e-12


def test_a_slice_with_a_step_is_those_samples():
    whole = uniforms(1, 0, range(6), (3,))
    assert (uniforms(1, 0, range(6)[::2], (3,)) == whole[::2]).all()
    assert (uniforms(1, 0, range(6)[::-1], (3,)) == whole[::-1]).all()
