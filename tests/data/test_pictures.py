import io

import numpy as np
import pytest
from PIL import Image

from baldur.data.pictures import contact_sheet


def shown(*images):
    return np.asarray(Image.open(io.BytesIO(contact_sheet(images))).convert("RGB"))


def test_transparent_and_deep_files_are_not_black(tmp_path):
    Image.new("RGBA", (70, 70), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    Image.fromarray(np.full((70, 70), 1000, np.uint16)).save(tmp_path / "deep.png")
    Image.new("L", (70, 70), 100).save(tmp_path / "grey.png")
    sheet = shown(*(str(tmp_path / f"{name}.png") for name in ("clear", "deep", "grey")))
    assert [int(sheet[32, x, 0]) for x in (32, 96, 160)] == pytest.approx(
        [255, 1000 * 255 / 1023, 100], abs=1
    )


def test_arrays_are_stretched_and_other_shapes_have_no_picture():
    assert shown(np.linspace(-1, 3, 64).reshape(1, 8, 8)).max() == 255
    assert contact_sheet([np.zeros((4, 8, 8))]) is None
    assert contact_sheet([]) is None
