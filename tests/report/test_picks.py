import base64
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from baldur import report
from baldur.report import picks
from baldur.store import Store


def opened(uri: str) -> Image.Image:
    head, data = uri.split(",", 1)
    assert head in ("data:image/png;base64", "data:image/jpeg;base64")
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_a_sheet_is_cut_into_its_pictures_in_order(tmp_path: Path) -> None:
    sheet = np.zeros((64, 192), np.uint8)
    sheet[:, 64:128], sheet[:, 128:] = 100, 200
    Image.fromarray(sheet).save(tmp_path / "sheet.png")
    cut = picks.tiles(tmp_path / "sheet.png", 9, 3)
    with opened(cut[0]) as first, opened(cut[1]) as second, opened(cut[2]) as third:
        assert first.size == second.size == third.size == (64, 64)
        assert [np.asarray(image).mean() for image in (first, second, third)] == [0, 100, 200]


def test_a_photograph_is_embedded_as_the_smaller_jpeg(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "sheet.png")
    (uri,) = picks.tiles(tmp_path / "sheet.png", 1, 1)
    assert uri.startswith("data:image/jpeg")


def test_a_sheet_of_another_number_or_no_image_gives_none(tmp_path: Path) -> None:
    Image.new("L", (128, 64)).save(tmp_path / "sheet.png")
    assert picks.tiles(tmp_path / "sheet.png", 3, 3) == []
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert picks.tiles(tmp_path / "broken.png", 1, 1) == []


def test_only_what_is_shown_is_encoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (64 * 50, 64)).save(tmp_path / "sheet.png")
    encoded = []
    monkeypatch.setattr(picks, "_uri", lambda image: encoded.append(image.size) or "uri")
    assert picks.tiles(tmp_path / "sheet.png", 24, 50) == ["uri"] * 24
    assert encoded == [(64, 64)] * 24
    assert picks.tiles(tmp_path / "sheet.png", 99) == ["uri"] * 50


def test_a_sheet_that_is_larger_than_pillow_opens_gives_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("L", (128, 64)).save(tmp_path / "sheet.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 64 * 64 - 1)
    assert picks.tiles(tmp_path / "sheet.png", 24, 2) == []


@pytest.mark.usefixtures("without_charts")
def test_a_page_of_many_pictures_stays_small(
    run: Callable[..., Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = run(lambda s, seed, r: 0.5, strategies=("random",), seeds=1, rounds=4, query_size=30)
    whole = report.write_html([store], tmp_path / "a.html", []).read_text()
    assert whole.count("<img") == 4 * picks.MOST_ITEMS
    assert "and 6 more" in whole
    monkeypatch.setattr(picks, "MOST_BYTES", 15_000)
    thin = report.write_html([store], tmp_path / "b.html", []).read_text()
    assert 0 < thin.count("<img") < whole.count("<img")
    assert "left out to keep the page small" in thin


def test_an_item_that_a_round_did_not_wait_for_is_not_called_skipped():
    from baldur.report.picks import _said
    from baldur.store import RequestRow

    row = RequestRow("bald", 0, 1, 0, "a", 0.5, "skipped", None)
    assert [_said(row), _said(row._replace(state="open")), _said(row._replace(label="cat"))] == [
        *("not answered", "open", "cat")
    ]
