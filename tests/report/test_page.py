import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from tests.report.synthetic import SETTINGS, save

from baldur import report
from baldur.report import sections, study
from baldur.store import Request, Store

Run = Callable[..., Store]
VOID = {"img", "wbr", "meta", "br", "hr", "link", "input"}
ALL = ("learning", "difference", "balance0", "scores1", "reliability", "ece", "time")


class Page(HTMLParser):
    """Reads a page, and fails where an element is not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def every(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def rising(s: str, seed: int, r: int) -> float:
    return 0.6 + 0.08 * r + (s == "bald") * (0.03 + 0.01 * r) + 0.005 * seed * (-1) ** r


def write(stores: list[Store], tmp_path: Path, targets: tuple[float, ...] = (0.8, 0.95)) -> tuple[str, Page]:
    path = report.write_html(stores, tmp_path / "report.html", targets)
    assert path == tmp_path / "report.html"
    text = path.read_text(encoding="utf-8")
    return text, Page(text)


def drawings(page: Page) -> set[str]:
    """The names of the drawings, from the ids that matplotlib gives every figure."""
    return {
        str(a["id"]).removesuffix("-figure_1")
        for a in page.every("g")
        if str(a.get("id")).endswith("-figure_1")
    }


def test_a_whole_run_is_drawn_on_a_page_that_needs_nothing_else(run: Run, tmp_path: Path) -> None:
    text, page = write([run(rising, seeds=3, rounds=4)], tmp_path)
    assert drawings(page) == set(ALL)
    assert not {"script", "link", "iframe", "object", "base"} & {tag for tag, _ in page.elements}
    links = [
        value for _, a in page.elements for key, value in a.items() if key in ("src", "href", "xlink:href")
    ]
    assert links
    assert all(str(link).startswith(("#", "data:image/")) for link in links)
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    assert {str(link)[1:] for link in links if str(link).startswith("#")} <= set(ids)
    assert all(a.get("aria-label") and "viewbox" in a for a in page.every("svg"))
    assert [a["alt"] for a in page.every("img")].count("") == 0
    assert len(page.every("img")) == 2 * 4 * 10
    assert "bald reached 80 % accuracy with a median of 40 labels, random with 50" in page.text
    # the same gain in each of three seeds: the sign test cannot say more
    assert (
        "By mean accuracy from 20 to 60 labels, it is undecided whether bald is better or worse than random"
        in page.text
    )
    assert "broken.png" in page.text
    assert "not an image" in page.text
    assert "2 groups of items with exactly the same content" in page.text
    assert 'data = "digits"' in page.text
    assert "numpy 2" in page.text
    assert len(text) < 1_000_000


def test_the_same_run_gives_the_same_page(run: Run, tmp_path: Path) -> None:
    store = run(rising, seeds=2, rounds=1)
    assert write([store], tmp_path)[0] == write([store], tmp_path)[0]


def test_what_others_named_is_shown_and_never_obeyed(run: Run, tmp_path: Path) -> None:
    evil = "<img onerror=alert(1) src=x>"
    settings = (
        "# </pre><script>alert(2)</script>\nstrategies = [{strategies}]\nseeds = {seeds}\nrounds = {rounds}\n"
    )
    store = run(
        rising, seeds=1, rounds=1, classes=(evil, "$x_1$", 'a"b&c'), strategies=("random", "<b>mine</b>$a$"),
        settings=settings,
    )  # fmt: skip
    store.record_start({"versions": {"<i>": "<u>"}, "threads": 4, "device": "cpu"})
    text, page = write([store], tmp_path)
    assert evil not in text
    assert "<script" not in text
    assert "<b>mine" not in text
    assert "<u>" not in text
    assert evil in page.text
    assert "<b>mine</b>" in page.text
    assert "different numbers of threads (2 and 4)" in page.text
    assert not any(key.startswith("on") for _, a in page.elements for key in a)


def test_runs_are_compared_on_one_page(run: Run, tmp_path: Path) -> None:
    first = run(rising, name="first", seeds=2, rounds=2)
    second = run(rising, name="second", seeds=2, rounds=1, classes=("yes", "no"), strategies=("bald",))
    _, page = write([first, second], tmp_path)
    assert "first/bald" in page.text
    assert "second/bald" in page.text
    assert {"balance0", "balance1"} <= drawings(page)
    assert "second: There is no random baseline" in page.text


@pytest.mark.usefixtures("without_charts")
@pytest.mark.parametrize("state", ["running", "waiting", "failed"])
def test_a_partial_run_says_so(run: Run, tmp_path: Path, state: str) -> None:
    _, page = write([run(rising, seeds=2, rounds=2, stop=("bald", 0, 1, state))], tmp_path)
    assert "The run is not finished: 1 of 4 trials done" in page.text
    assert ("for some reason" in page.text) == (state != "running")


def test_a_partial_run_is_drawn(run: Run, tmp_path: Path) -> None:
    _, page = write([run(rising, seeds=1, rounds=2, stop=("bald", 0, 1, "running"))], tmp_path)
    assert {"learning", "difference"} <= drawings(page)


def test_a_run_that_kept_little_and_has_no_random_gives_a_page(run: Run, tmp_path: Path) -> None:
    store = run(
        rising, strategies=("bald",), seeds=1, rounds=1, pictures=False, scored=False, calibrated=False
    )
    _, page = write([store], tmp_path, targets=())
    assert drawings(page) == {"learning", "balance0", "ece", "time"}
    assert "no random baseline" in page.text
    assert "Only 1 seed:" in page.text
    assert "No scores were kept" in page.text
    assert "b0-20: " in page.text  # no picture: ids and labels
    assert page.every("img") == []


def test_a_run_that_only_began_gives_a_page(run: Run, tmp_path: Path) -> None:
    _, page = write([run(rising, stop=("random", 0, 0, "running"))], tmp_path)
    assert "Nothing is measured yet." in page.text
    assert drawings(page) == set()
    empty = Store.create(tmp_path / "empty", settings="not toml [", classes=["a", "b"])
    with empty:
        _, page = write([empty], tmp_path)
        assert "No trial has begun yet." in page.text


@pytest.mark.usefixtures("without_charts")
def test_a_damaged_artefact_is_left_out_and_named(run: Run, tmp_path: Path) -> None:
    store = run(rising, seeds=1, rounds=2)
    for row in store.artefacts("picks"):
        row.path.write_bytes(b"no longer a picture")
    _, page = write([store], tmp_path)
    assert page.every("img") == []
    assert "4 files of the run could not be used" in page.text
    assert "altered or cut short" in page.text


@pytest.mark.usefixtures("without_charts")
def test_open_requests_are_shown_as_open(tmp_path: Path) -> None:
    with Store.create(tmp_path / "run", settings='oracle = "file"', classes=["a", "b"]) as store:
        trial = store.trial("bald", 0)
        trial.begin([Request("x", 0)])
        with trial.phase(0, "label") as phase:
            trial.answer(0, {"x": "a"}, "me")
            phase.labelled()
        with trial.phase(0, "fit") as phase:
            phase.fitted()
        with trial.phase(0, "measure") as phase:
            phase.measured({("accuracy", "test"): 0.5})
        with trial.phase(0, "choose") as phase:
            phase.chosen([Request("y", 0, 1.0)])
        trial.finish("waiting", "for 1 label")
        _, page = write([store], tmp_path)
    assert "y: open" in page.text
    assert "bald, seed 0, is waiting: for 1 label." in page.text


def test_torch_is_never_imported_and_matplotlib_only_to_draw(run: Run, tmp_path: Path) -> None:
    folder = run(rising, seeds=1, rounds=1).folder
    code = """
import sys
sys.modules["torch"] = None
from pathlib import Path
from baldur import report
from baldur.store import Store
assert "matplotlib" not in sys.modules
with Store.open(Path(sys.argv[1])) as store:
    report.summarise([store], [.9])
    report.status(store)
    assert "matplotlib" not in sys.modules
    report.write_html([store], Path(sys.argv[2]), [.9])
assert "matplotlib.pyplot" not in sys.modules
"""
    page = tmp_path / "page.html"
    subprocess.run([sys.executable, "-W", "error", "-c", code, str(folder), str(page)], check=True)
    Page(page.read_text(encoding="utf-8"))


def test_the_users_matplotlib_style_neither_matters_nor_changes(run: Run, tmp_path: Path) -> None:
    import matplotlib

    store = run(rising, seeds=1, rounds=1)
    plain, _ = write([store], tmp_path)
    with matplotlib.rc_context({"axes.facecolor": "black", "font.size": 30, "text.usetex": True}):
        before = dict(matplotlib.rcParams)
        assert write([store], tmp_path)[0] == plain
        assert dict(matplotlib.rcParams) == before


SCORES = np.array([0.9, 0.5, 0.5 + 1e-8, 0.5, 0.1])


def choosing(store: Store, strategy: str, sizes: tuple[int, ...], error: float = 0.1) -> None:
    """A trial that chooses so many items in its rounds, each time among `SCORES`."""
    trial = store.trial(strategy, 0)
    trial.begin([Request("first", 0)])
    for r, k in enumerate((*sizes, 0)):
        with trial.phase(r, "label") as phase:
            trial.answer(r, dict.fromkeys(trial.open_requests(r), "a"), "me")
            phase.labelled()
        with trial.phase(r, "fit") as phase:
            phase.fitted()
        with trial.phase(r, "measure") as phase:
            phase.measured({("accuracy", "test"): 0.5, ("ece", "test"): error})
        if k == 0:
            break
        with trial.phase(r, "choose") as phase:
            trial.artefact(r, "scores", ".npy", lambda path: save(path, SCORES))
            best = np.sort(SCORES)[::-1][:k]
            phase.chosen([Request(f"{r}-{i}", i, float(score)) for i, score in enumerate(best)])
    trial.finish("done", "enough")


@pytest.mark.usefixtures("without_charts")
def test_near_ties_for_the_last_place_are_counted(tmp_path: Path) -> None:
    with Store.create(tmp_path, settings="", classes=["a", "b"]) as store:
        choosing(store, "margin", (1, 4))
        assert "tied for the last places" not in str(
            sections.score_distribution(study.gather([store], [], "accuracy"))
        )
        choosing(store, "bald", (1, 2, 3, 4, 5))
        said = str(sections.score_distribution(study.gather([store], [], "accuracy")))
        assert "In 2 of 5 rounds, up to 3 items tied for the last places within rounding" in said


@pytest.mark.usefixtures("without_charts")
def test_a_strategy_without_a_finite_error_has_a_dash(tmp_path: Path) -> None:
    with Store.create(tmp_path, settings="", classes=["a", "b"]) as store:
        choosing(store, "bald", (1,))
        choosing(store, "random", (1,), error=np.inf)
        said = str(sections.calibration(study.gather([store], [], "accuracy")))
    assert '<th scope="row">random</th><td class="number" data-head="ECE">–</td>' in said


@pytest.mark.usefixtures("without_charts")
def test_why_a_trial_stopped_and_what_that_gave_up(run: Run, tmp_path: Path) -> None:
    def peaked(s: str, seed: int, r: int) -> float:
        return (0.6, 0.9, 0.85)[r]

    stops = 'stop = ["budget(40)", "target(0.9, split=\'test\')"]\n'
    store = run(peaked, strategies=("bald",), seeds=1, rounds=2, settings=SETTINGS + stops)
    page = write([store], tmp_path)[1].text
    assert "done: 2 rounds" in page
    assert "0.900 at 30 labels" in page
    assert "0.050" in page
    assert "A trial ends when budget(40) or target(0.9, split='test') says so" in page
    assert "A stopping criterion looked at the test set" in page
    honest = run(
        peaked, "honest", strategies=("bald",), seeds=1, rounds=2, settings=SETTINGS + 'stop = ["a:b"]\n'
    )
    assert "looked at the test set" not in write([honest], tmp_path)[1].text


@pytest.mark.usefixtures("without_charts")
def test_probabilities_of_the_last_round_are_scored(run: Run, tmp_path: Path) -> None:
    text, page = write([run(rising, seeds=3, rounds=2)], tmp_path)
    errors = [0.2 - rising("bald", seed, 2) / 10 for seed in range(3)]  # what the fixture measures
    assert f"{np.mean(errors):.3f} ± {np.std(errors, ddof=1):.3f}" in page.text
    assert '<th scope="col" class="number">ECE</th>' in text
    assert "Brier" not in page.text  # what was not measured has no column


@pytest.mark.usefixtures("without_charts")
def test_starts_that_waited_are_no_kills(run: Run) -> None:
    store = run(rising, seeds=1, rounds=1)
    trial = store.trial("bald", 0)

    def said() -> str:
        return str(sections.time_by_phase(study.gather([store], [], "accuracy")))

    for _ in range(3):
        with trial.phase(1, "label"):
            pass
    assert "interrupted" not in said()
    for _ in range(2):  # killed, and still going on
        trial.phase(1, "label").__enter__()
    assert "Not counted: 1 interrupted attempt." in said()


@pytest.mark.usefixtures("without_charts")
def test_a_strategy_that_begins_while_the_page_is_drawn_is_on_the_next_page(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = run(rising, seeds=1, rounds=1)
    known = study.gather([store], [], "accuracy")
    summary = known.summary
    store.trial("entropy", 0)
    assert "random" in sections.calibration(known)
    monkeypatch.setattr(study, "summarise", lambda *_: summary)
    assert [member.name for member in study.gather([store], [], "accuracy").members] == ["random", "bald"]


@pytest.mark.parametrize("strategies", [("random", "__main__:mine"), ("random", "_other")])
def test_a_strategy_of_ones_own_is_in_every_legend(
    run: Run, tmp_path: Path, strategies: tuple[str, str]
) -> None:
    store = run(rising, strategies=strategies)
    text, _ = write([store], tmp_path)
    charts = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    named = [chart for chart in charts if strategies[1] in re.sub(r'aria-label="[^"]*"', "", chart)]
    assert len(named) >= 5


def test_no_axis_leaves_the_range_of_an_accuracy(run: Run, tmp_path: Path) -> None:
    store = run(lambda s, seed, r: min(1.0, 0.9 + 0.05 * r))
    text, _ = write([store], tmp_path)
    chart = text[text.index('aria-label="Test accuracy over labels') :]
    chart = chart[: chart.index("</svg>")]
    ticks = [float(t) for t in re.findall(r">(\d+\.\d+)</text>", chart)]
    assert ticks
    assert max(ticks) <= 1


def test_the_classes_of_the_labelled_are_not_shown_as_those_of_the_pool(run: Run) -> None:
    store = run(rising)
    known = study.gather([store], [], "accuracy").members[0]
    assert sections._pool_counts(known, 3) is not None
    store.preprocessing["facts"]["pool"] += 1  # one item has no known label
    assert sections._pool_counts(known, 3) is None
    assert "Vertical mark: an even share" in sections.class_balance(study.gather([store], [], "accuracy"))


@pytest.mark.usefixtures("without_charts")
def test_the_hardest_classes_come_first(tmp_path: Path) -> None:
    with Store.create(tmp_path, settings="", classes=["a", "b", "c"]) as store:
        for seed in (0, 1):
            trial = store.trial("bald", seed)
            trial.begin([Request("x", 0)])
            with trial.phase(0, "label") as phase:
                trial.answer(0, {"x": "a"}, "oracle")
                phase.labelled()
            with trial.phase(0, "fit") as phase:
                phase.fitted()
            with trial.phase(0, "measure") as phase:
                told = {"accuracy": 0.5, "f1_a": 0.9, "f1_b": 0.2 + 0.2 * seed, "f1_macro": 0.1}
                phase.measured({(name, "test"): value for name, value in told.items()})
        said = sections.hardest(study.gather([store], [], "accuracy"))
    assert said.index(">b</th>") < said.index(">a</th>")
    assert ">0.300</td>" in said
    assert ">c</th>" not in said
    assert "macro" not in said
