import pytest
import torch

from baldur.core.tensorfiles import read_tensors, write_tensors


def test_tensors_and_what_is_said_come_back_from_a_file(tmp_path):
    groups = {
        "a": {"x/y": torch.arange(6).reshape(2, 3).T, "n": torch.tensor(1.5)},
        "b": {"x": torch.ones(0)},
    }
    write_tensors(tmp_path / "f", groups, {"epoch": 3})
    back, said = read_tensors(tmp_path / "f")
    assert said == {"epoch": 3}
    assert {g: set(m) for g, m in back.items()} == {g: set(m) for g, m in groups.items()}
    assert all(torch.equal(back[g][n], t) for g, members in groups.items() for n, t in members.items())


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-1], lambda b: b[:20], lambda b: b"", lambda b: b"\xff" * 64]
)
def test_a_damaged_file_is_a_value_error(tmp_path, damage):
    path = tmp_path / "f"
    write_tensors(path, {"a": {"x": torch.ones(8)}}, {})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=r".+"):
        read_tensors(path)
