from collections.abc import Callable

from baldur import report
from baldur.store import Store


def test_the_table_fits_80_columns_and_says_how_to_read_it(run: Callable[..., Store]) -> None:
    def value(s: str, seed: int, r: int) -> float:
        return 0.5 + 0.1 * r + (s == "bald") * (0.05 + seed / 100)

    store = run(
        value, strategies=("random", "bald", "mine:[bold]x"), seeds=2, pictures=False, calibrated=False
    )
    text = report.as_text(report.summarise([store], [0.7, 0.95]))
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    header = next(line for line in lines if "AULC − random" in line)
    assert header.split()[:2] == ["strategy", "seeds"]
    assert "70 %" in header
    assert "95 %" in header
    assert "[bold]x" in text  # shown, not obeyed
    assert "initial ones included" in " ".join(text.split())
    assert "from 20 to 60 labels" in " ".join(text.split())
    bald = next(line for line in lines if line.startswith(" bald "))
    assert bald.split()[1:4] == ["2", "40", ">60"] or bald.split()[1:4] == ["2", "40", "60"]
