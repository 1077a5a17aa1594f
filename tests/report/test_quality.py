"""The accuracy of a model on the items that were kept for testing."""

from baldur.report import Quality, quality_of
from baldur.store import Request, Store


def test_the_newest_look_is_shown(tmp_path):
    with Store.create(tmp_path, settings="", classes=("a", "b"), seed=0) as store:
        trial = store.trial("bald", 0)
        assert quality_of(store) == Quality()
        trial.begin([Request("x", 0)])
        for round, looks in enumerate((False, True, False)):
            trial.answer(round, {str(round) if round else "x": "a"}, "ann")
            trial.cut(round)
            with trial.phase(round, "fit") as phase:
                phase.fitted()
            values = {
                ("accuracy", "reserve"): 0.8 + round / 100,
                ("items", "reserve"): 10.0 + round,
                ("size", "reserve"): 30.0,
            }
            ends = {("low", "reserve"): 0.7, ("high", "reserve"): 0.9} if looks else {}
            with trial.phase(round, "measure") as phase:
                phase.measured(values | ends)
            with trial.phase(round, "choose") as phase:
                phase.chosen([Request(str(round + 1), 0)])
        found = quality_of(store)
    assert found == Quality(0.81, 0.7, 0.9, 11, 2, 1, 30)
    assert str(found).startswith(
        "Accuracy 0.81, between 0.70 and 0.90 (95 %), for the model of 2 labels, on 30 "
    )


def test_an_unknown_accuracy_is_said_to_be_unknown():
    assert str(Quality(test_labels=3)).startswith("The accuracy is not known yet: 3 test items have a label.")
