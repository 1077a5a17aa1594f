"""The page of a run in which people label."""

from pathlib import Path

import pytest
from tests.report.test_page import Page
from tests.runs.people import answered, begun

from baldur import report
from baldur.store import Store


def page(folder: Path) -> str:
    with Store.open(folder) as store:
        return report.write_html([store], folder / "report.html", [0.9]).read_text(encoding="utf-8")


def test_a_page_before_and_after_labels(tmp_path: Path) -> None:
    run = begun(tmp_path / "run", test_labels=18, retrain_after=20)
    text = page(tmp_path / "run")
    assert "No item has a label yet." in text
    assert "The accuracy is not known yet" in text
    for _ in range(8):
        answered(run, 10)
    run.ask(1)
    text = page(tmp_path / "run")
    read = Page(text)
    for told in (
        "Accuracy of each model on test labels",
        "Labelling: run",
        "classes of the labels",
        "80 of 90 items have a label",
    ):
        assert told in read.text, told
    for compared in ("Nothing is measured", "random baseline", "AULC", "Seeds", "trial done"):
        assert compared not in read.text, compared
    assert str(run.quality()) in read.text
    assert [a["href"] for a in read.every("a")][:2] == ["#accuracy", "#labels"]


@pytest.mark.usefixtures("without_charts")
def test_a_class_without_labels_is_named(tmp_path: Path) -> None:
    run = begun(tmp_path / "run")
    (item,) = run.ask(1)
    run.tell({item.id: "red"}, by="<ann>")
    text = page(tmp_path / "run")
    assert "No item has a label of the classes green and blue yet." in text
    assert "&lt;ann&gt;" in text
