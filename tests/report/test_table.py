from collections.abc import Callable

from baldur import report
from baldur.store import Store


def test_the_table_fits_80_columns_and_says_how_to_read_it(run: Callable[..., Store]) -> None:
    def value(s: str, seed: int, r: int) -> float:
        return 0.5 + 0.1 * r + (s == "bald") * (0.05 + seed / 100)

    store = run(
        value, strategies=("random", "bald", "mine:[bold]x"), seeds=2, pictures=False, calibrated=False
    )
    text = report.as_text(report.summarise([store], [0.7, 0.99]))
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    header = next(line for line in lines if "AULC − random" in line)
    assert header.split()[:2] == ["strategy", "seeds"]
    assert "70 %" in header
    assert "99 %" in header
    assert "[bold]x" in text  # shown, not obeyed
    assert "initial ones included" in " ".join(text.split())
    assert "from 20 to 60 labels" in " ".join(text.split())
    bald = next(line for line in lines if line.startswith(" bald "))
    assert bald.split()[1:4] == ["2", "40", ">60"]


def test_a_table_of_several_runs_names_the_run_above_the_strategy(run: Callable[..., Store]) -> None:
    stores = [
        run(lambda s, seed, r: 0.5, name=name, seeds=1, rounds=0, pictures=False) for name in ("one", "two")
    ]
    lines = [line.split() for line in report.as_text(report.summarise(stores, [])).splitlines()]
    assert [line[0] for line in lines if line and line[0] in ("one/", "two/", "bald")] == [
        *("one/", "one/", "bald"),
        *("two/", "two/", "bald"),
    ]
