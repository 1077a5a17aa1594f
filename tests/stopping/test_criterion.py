import pytest
from tests.stopping.histories import saying

from baldur.errors import InvalidArgument
from baldur.stopping import Criterion, History, all_of, any_of


def test_composition():
    yes, also, no = (
        saying("a", rounds=4, limit=90),
        saying("b", splits=frozenset({"test"}), limit=50),
        saying(""),
    )
    past = History([9])
    assert [(yes | no)(past), (yes | also)(past), (no | no)(past)] == ["a", "a; b", ""]
    assert [(yes & no)(past), (yes & also)(past)] == ["", "a and b"]
    assert ((yes | also).rounds, (yes | also).splits, (yes | also).limit) == (4, {"test"}, 50)
    assert (yes & also).limit == 90, "what the smaller budget allows, the other may still need"
    assert (yes & no).limit is None
    assert (yes | no).limit == 90
    assert (yes | also & no).name == "(a | (b & nothing))"
    assert any_of(yes) is yes
    with pytest.raises(InvalidArgument):
        all_of()


class Patience:
    """A criterion of one's own, which is no `Rule`."""

    name, rounds, splits, limit = "patience", 0, frozenset(), 70

    def __call__(self, history):
        return "enough rounds" if len(history.labels) > 2 else ""


def test_a_criterion_is_whatever_keeps_the_protocol():
    own = Patience()
    assert isinstance(own, Criterion)
    assert isinstance(saying("a"), Criterion)
    both = saying("a", limit=90) & own
    assert (both.name, both.limit) == ("(a & patience)", 90)
    assert [both(History([1])), both(History([1, 2, 3]))] == ["", "a and enough rounds"]
    assert (any_of(own).name, any_of(own)(History([1, 2, 3]))) == ("patience", "enough rounds")
