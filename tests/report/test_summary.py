import json
import math
from collections.abc import Callable

import pytest
from tests.report.synthetic import SETTINGS

from baldur import report
from baldur.errors import InvalidArgument
from baldur.store import Store

Run = Callable[..., Store]

# methods.md 6.8 as areas: flat curves, so that the area is the value itself.
A = (0.842, 0.851, 0.838, 0.846, 0.849)
B = (0.831, 0.840, 0.836, 0.833, 0.841)


def bare(value: Callable[[str, int, int], float], run: Run, **recipe: object) -> Store:
    return run(value, pictures=False, scored=False, calibrated=False, **recipe)


def test_paired_comparison_with_random_is_the_worked_one(run: Run) -> None:
    store = bare(lambda s, seed, r: (A if s == "bald" else B)[seed], run, seeds=5, rounds=1)
    random, bald = report.summarise([store], [0.845]).rows
    assert bald.against_random is not None
    assert bald.against_random.difference == pytest.approx(0.009)
    assert bald.against_random.p == pytest.approx(0.00945561, abs=1e-8)
    assert (bald.against_random.low, bald.against_random.high) == pytest.approx(
        (0.00365940, 0.01434060), abs=1e-7
    )
    assert bald.verdict == "better than random (p = .0095)"
    assert random.verdict == ""
    assert random.against_random is None
    assert bald.aulc is not None
    assert bald.aulc.mean == pytest.approx(0.8452)
    assert bald.final is not None
    assert bald.final.sd == pytest.approx(0.005263, abs=1e-6)
    # seeds 1, 3 and 4 have it from the beginning, 0 and 2 never
    assert [bald.to_target[0].median, bald.to_target[0].low, bald.to_target[0].high] == [20, 20, math.inf]
    assert (bald.to_target[0].reached, random.to_target[0].reached, random.to_target[0].median) == (
        3,
        0,
        math.inf,
    )


def test_area_and_labels_to_target_of_a_curve(run: Run) -> None:
    curve = (0.60, 0.75, 0.85, 0.90, 0.92)  # methods.md 6.1
    store = bare(lambda s, seed, r: curve[r], run, strategies=("bald",), seeds=1, query_size=20)
    (row,) = report.summarise([store], [0.80, 0.88, 0.95]).rows
    assert row.aulc is not None
    assert row.aulc.mean == pytest.approx(0.815)
    assert [reached.median for reached in row.to_target] == [60, 80, math.inf]
    assert row.verdict == "no random baseline to compare with"
    assert row.labels == 100
    assert row.seeds == 1
    summary = report.summarise([store], [0.95])
    assert any("no random baseline" in note for note in summary.notes)
    assert any(note.startswith("Only 1 seed") for note in summary.notes)
    assert ">100" in report.as_text(summary)


def test_a_loss_is_better_when_it_is_smaller(run: Run) -> None:
    store = bare(lambda s, seed, r: 0.9 + seed / 50 if s == "bald" else 0.5, run, rounds=1)
    _, bald = report.summarise([store], [0.12], metric="ece").rows  # the fixture's ece is .2 - accuracy / 10
    assert bald.against_random is not None
    assert bald.against_random.difference < 0
    assert bald.verdict.startswith("better than random")
    assert bald.to_target[0].median == 20  # .11, .108 and .106


def test_worse_undecided_and_too_few_seeds_are_said(run: Run) -> None:
    def value(s: str, seed: int, r: int) -> float:
        return {"random": 0.8, "worse": 0.7, "same": 0.8}[s] + (seed + 1) * {"same": (-1) ** seed}.get(
            s, 1
        ) / 100

    store = bare(value, run, strategies=("random", "worse", "same"), rounds=0, seeds=4)
    verdicts = [row.verdict for row in report.summarise([store], []).rows]
    assert verdicts[1].startswith("undecided")  # equal differences: the sign test needs six pairs
    assert verdicts[2].startswith("undecided")
    jitter = bare(
        lambda s, seed, r: value(s, seed, r) + (s == "worse") * seed / 1000,
        run,
        name="b",
        strategies=("random", "worse"),
        rounds=0,
        seeds=4,
    )
    assert report.summarise([jitter], []).rows[1].verdict.startswith("worse than random (p < .001)")
    one = bare(value, run, name="one", strategies=("random", "worse"), rounds=0, seeds=1)
    assert report.summarise([one], []).rows[1].verdict == "too few seeds to compare"


def test_unfinished_trials_do_not_count_beside_finished_ones(run: Run) -> None:
    store = bare(lambda s, seed, r: 0.5 + r / 10, run, seeds=2, rounds=2, stop=("bald", 1, 1, "failed"))
    random, bald = report.summarise([store], [0.6]).rows
    assert (random.seeds, bald.seeds, bald.unfinished) == (2, 1, 1)
    assert bald.verdict == "too few seeds to compare"
    notes = report.summarise([store], [0.6]).notes
    assert any("3 of 4 trials done" in note for note in notes)
    assert any(note == "bald, seed 1, failed: for some reason." for note in notes)


def test_areas_are_over_the_stretch_that_all_share(run: Run) -> None:
    store = bare(lambda s, seed, r: r / 10, run, seeds=1, rounds=3, stop=("bald", 0, 2, "running"))
    summary = report.summarise([store], [])
    assert summary.stretch == (20, 30)
    assert [row.aulc.mean for row in summary.rows if row.aulc] == pytest.approx([0.05, 0.05])
    assert any("20 to 30 labels" in note for note in summary.notes)


def test_a_run_in_progress_compares_what_is_comparable(run: Run) -> None:
    """A strategy that had just begun cut all comparisons to its first point, 20 labels."""

    def value(s: str, seed: int, r: int) -> float:
        return {"random": 0.5, "bald": 0.6, "entropy": 0.7}[s] + r * (1 + seed) / 100

    done = bare(
        value,
        run,
        strategies=("random", "bald", "entropy"),
        seeds=3,
        rounds=3,
        stop=("entropy", 2, 1, "running"),
    )
    bald, entropy = report.summarise([done], []).rows[1:]
    assert (bald.compared, bald.so_far, bald.against_random and bald.against_random.n) == ((20, 50), False, 3)
    assert bald.against_random is not None
    assert bald.against_random.difference == pytest.approx(0.1)
    assert entropy.compared == (20, 50), "its two finished seeds count"
    begun = bare(value, run, name="begun", seeds=4, rounds=3, stop=("bald", 0, 2, "running"))
    _, bald = report.summarise([begun], []).rows
    assert (bald.compared, bald.so_far, bald.verdict) == ((20, 30), True, "too few seeds to compare")
    point = bare(
        value,
        run,
        name="point",
        strategies=("random", "bald", "entropy"),
        seeds=1,
        rounds=3,
        stop=("entropy", 0, 1, "running"),
    )
    summary = report.summarise([point], [])
    assert summary.stretch == (20, 50)
    assert [row.compared for row in summary.rows] == [None, (20, 50), (20, 20)]
    assert summary.rows[2].aulc is None


def test_verdicts_are_corrected_for_their_number(run: Run) -> None:
    def value(s: str, seed: int, r: int) -> float:
        return (A if s == "bald" else B)[seed] + (
            0 if s in ("bald", "random") else 0.01 * (-1) ** (seed + int(s[-1]))
        )

    many = ("random", "bald", *(f"null{i}" for i in range(1, 7)))
    store = bare(value, run, strategies=many, seeds=5, rounds=0)
    summary = report.summarise([store], [])
    assert summary.rows[1].against_random is not None
    assert summary.rows[1].against_random.p == pytest.approx(7 * 0.00945561, abs=1e-6)
    assert summary.rows[1].verdict == "undecided (p = .066)"
    assert any("corrected for 7 comparisons" in note for note in summary.notes)
    assert any(note.startswith("Undecided does not mean equal.") for note in summary.notes)


def test_no_interval_of_a_share_leaves_it(run: Run) -> None:
    store = bare(lambda s, seed, r: (0.999, 0.97, 0.8)[seed] if s == "bald" else 0.001, run, rounds=0)
    _, bald = report.summarise([store], []).rows
    assert bald.aulc is not None
    assert (bald.aulc.high, bald.final and bald.final.high) == (1, 1)
    assert bald.against_random is not None
    assert bald.against_random.high <= 1


def test_the_median_of_an_even_number_of_seeds_is_the_middle(run: Run) -> None:
    store = bare(lambda s, seed, r: 0.9 if r >= seed else 0.5, run, strategies=("bald",), seeds=4, rounds=4)
    (row,) = report.summarise([store], [0.8]).rows
    assert (row.to_target[0].low, row.to_target[0].median, row.to_target[0].high) == (27.5, 35, 42.5)
    assert "with a median of 35 labels" in report.as_text(report.summarise([store], [0.8]))


def test_seeds_that_reached_a_target_are_counted_where_the_median_did_not(run: Run) -> None:
    store = bare(lambda s, seed, r: 0.9 if seed == 0 and s == "bald" else 0.5, run, rounds=0)
    text = " ".join(report.as_text(report.summarise([store], [0.8])).split())
    assert "bald reached 80 % accuracy in only 1 of 3 seeds. Random did not reach it." in text


def test_several_runs_have_names_of_their_own(run: Run) -> None:
    first = bare(lambda s, seed, r: 0.5, run, name="x/same", rounds=0, seeds=1)
    second = bare(lambda s, seed, r: 0.5, run, name="y/same", rounds=0, seeds=1)
    names = [row.name for row in report.summarise([first, second], []).rows]
    assert names == ["x/same/random", "x/same/bald", "y/same/random", "y/same/bald"]


def test_a_dictionary_for_json_holds_nothing_infinite(run: Run) -> None:
    store = bare(lambda s, seed, r: 0.5, run, rounds=0, seeds=1)
    plain = report.summarise([store], [0.9]).as_dict()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert plain["rows"][0]["to_target"][0]["median"] is None
    assert plain["rows"][0]["aulc"]["low"] is None


def test_free_labels_are_declared(run: Run) -> None:
    settings = "strategies = [{strategies}]\nseeds = {seeds}\nrounds = {rounds}\nvalidation = 100\n"
    store = bare(
        lambda s, seed, r: 0.5, run, rounds=0, seeds=1, settings=settings + "validation_free = true\n"
    )
    summary = report.summarise([store], [])
    assert summary.labels_free == 100
    assert any("100 more labels" in note for note in summary.notes)
    counted = bare(lambda s, seed, r: 0.5, run, name="b", rounds=0, seeds=1, settings=settings)
    assert report.summarise([counted], []).labels_free == 0


def test_an_end_by_the_test_set_is_declared(run: Run) -> None:
    settings = "strategies = [{strategies}]\nseeds = {seeds}\nrounds = {rounds}\nuntil = 0.9\n"
    store = bare(lambda s, seed, r: 0.5, run, rounds=0, seeds=1, settings=settings)
    assert any(
        "ended when their test accuracy reached 0.9" in note for note in report.summarise([store], []).notes
    )


def test_what_cannot_be_summarised_is_refused(run: Run) -> None:
    with pytest.raises(InvalidArgument, match="at least one run"):
        report.summarise([], [])
    store = bare(lambda s, seed, r: 0.5, run, rounds=0, seeds=1)
    with pytest.raises(InvalidArgument, match="'auroc' was not measured; choose one of accuracy, ece"):
        report.summarise([store], [], metric="auroc")


def test_a_run_without_measurements_says_so(run: Run) -> None:
    store = bare(lambda s, seed, r: 0.5, run, rounds=1, seeds=1, stop=("random", 0, 0, "running"))
    summary = report.summarise([store], [0.9])
    assert summary.rows[0].final is None
    assert summary.rows[0].to_target == ()
    assert "Nothing is measured yet." in report.as_text(summary)


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        ("", None),
        ('noise = "0"\n', None),
        ('oracle = "file"\n', None),
        ('noise = "0.3"\n', "Answers are simulated with 30 % errors. Each label is one answer."),
        (
            'noise = "people:worst"\n',
            "Answers come from the annotators of CIFAR-10N (worst). Each label is one answer.",
        ),
    ],
)
def test_noisy_answers_are_said(run: Callable[..., Store], told: str, sentence: str | None) -> None:
    store = run(lambda s, seed, r: 0.5, seeds=1, rounds=0, settings=SETTINGS + told)
    notes = [note for note in report.summarise([store], [0.9]).notes if note.startswith("Answers")]
    assert notes == ([] if sentence is None else [sentence])
