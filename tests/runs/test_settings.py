import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baldur.errors import InvalidSettings
from baldur.runs import settings as settings_


@settings(deadline=None, max_examples=30)
@given(
    seeds=st.integers(1, 9),
    rate=st.floats(1e-6, 1),
    name=st.text(min_size=1, max_size=12),
    balanced=st.booleans(),
    encoder=st.none() | st.text(max_size=5),
)
def test_what_is_written_reads_back_equal(seeds, rate, name, balanced, encoder):
    made = settings_.create(
        seeds=seeds, learning_rate=rate, strategies=[name], initial_balanced=balanced, encoder=encoder
    )
    assert settings_.from_toml(settings_.to_toml(made)) == made


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"rounds": -1}, r"rounds must be at least 0, not -1"),
        ({"sedes": 2}, "no option 'sedes'; did you mean 'seeds'"),
        ({"strategy": "a", "strategies": ["b"]}, "given twice"),
        ({"xyzzy": 2}, "--help-all"),
        ({"memory": "much"}, "memory"),
        ({"strategies": []}, "strategies"),
    ],
)
def test_what_does_not_fit_is_named(values, words):
    with pytest.raises(InvalidSettings, match=words):
        settings_.create(**values)


@pytest.mark.parametrize(
    ("text", "size"), [("1GiB", 2**30), ("500 MB", 500_000_000), ("1.5kib", 1536), (4096, 4096), ("7", 7)]
)
def test_sizes(text, size):
    assert settings_.bytes_of(text) == size


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(InvalidSettings, match="cannot read"):
        settings_.read(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("rounds = ")
    with pytest.raises(InvalidSettings, match=r"bad\.toml is not TOML"):
        settings_.read(tmp_path / "bad.toml")


@pytest.mark.parametrize("text", ["", "format = 1\n", "format = 2\n[data]\ndata = 'x.npz'\n"])
def test_runs_of_older_formats_read_their_data_as_before(text):
    old = settings_.from_toml(text)
    assert (old.data.reading, old.data.scaling) == (1, "none")
    assert settings_.from_toml(settings_.to_toml(old)) == old
    new = settings_.from_toml(settings_.to_toml(settings_.create()))
    assert (new.data.reading, new.data.scaling) == (2, "standardise")


@pytest.mark.parametrize(
    ("told", "kept"),
    [(None, None), (-1, ["-1"]), (-1.0, ["-1"]), ("", [""]), (["", "?"], ["", "?"]), (("a", 2), ["a", "2"])],
)
def test_missing_values_are_one_or_several(told, kept):
    made = settings_.create(missing=told)
    assert made.data.missing == kept
    assert settings_.from_toml(settings_.to_toml(made)) == made
