"""A process in which somebody labels, killed again and again, and the same answers in a run that is never killed."""

import csv
import json
import multiprocessing
import random
import time
from collections import Counter

from tests.runs.people import NAMES
from tests.tiny_runs import blobs

import baldur
from baldur.store import Event, Store, doctor

ITEMS = 3000
TOLD = {"classes": NAMES, "strategy": "margin", "network": "mlp", "learner": "supervised", "threads": 1}
TOLD |= {"retrain_after": 12, "test_labels": 40, "initial": 8, "draws": 5, "checkpoint_seconds": 0.05}


def begun(folder, epochs, url=None):
    return baldur.open(folder, blobs(ITEMS)[0], db=url, epochs=epochs, **TOLD)


def live(folder, notes, seed, url=None):
    """Ask, answer and change answers until killed. Each act is written down before it, and once it is acknowledged.

    An answer without an acknowledgement is sent again first.
    """
    rng, right, parent = random.Random(seed), blobs(ITEMS)[1], multiprocessing.parent_process()
    with notes.open("a", buffering=1) as written:

        def do(run, number, verb, said):
            if verb == "ingest":
                file = notes.with_name(f"labels-{number}.csv")
                with file.open("w", newline="") as rows:
                    csv.writer(rows).writerows([("id", "label"), *said.items()])
                told = run.ingest(file, by="ann")
            elif verb in ("tell", "relabel"):
                told = getattr(run, verb)(said, by="ann")
            else:
                told = getattr(run, verb)(said.keys(), by="ann")
            assert not told.refused
            written.write(json.dumps({"number": number, "acknowledged": True}) + "\n")

        def act(run, verb, said):
            nonlocal number
            number += 1
            written.write(json.dumps({"number": number, "verb": verb, "said": said}) + "\n")
            do(run, number, verb, said)

        run = baldur.open(folder, blobs(ITEMS)[0], db=url)
        begun, acknowledged = read(notes)
        number = max(begun, default=0)
        for missing in begun.keys() - acknowledged:
            if begun[missing]["verb"] != "skip":  # which counts as often as it is said
                do(run, missing, begun[missing]["verb"], begun[missing]["said"])
        while parent.is_alive():  # so that nothing is left where the test itself was killed
            ids = [item.id for item in run.ask(rng.randrange(1, 9))]
            answers = {i: NAMES[right[int(i)]] for i in ids}
            verb = rng.choices(["tell", "ingest", "relabel", "skip", "unlabelable"], [6, 3, 3, 1, 1])[0]
            if verb == "relabel":  # what was said wrongly first
                act(run, "tell", {i: NAMES[(right[int(i)] + 1) % 3] for i in ids})
            act(run, verb, dict.fromkeys(ids[:1], "") if verb in ("skip", "unlabelable") else answers)


def read(notes):
    """The acts by number, and the numbers of those that were acknowledged."""
    lines = [json.loads(line) for line in notes.read_text().splitlines()]
    return {line["number"]: line for line in lines if "verb" in line}, {
        line["number"] for line in lines if "acknowledged" in line
    }


def kill_people(folder, kills, seed, epochs, longest, url=None):
    """Kill a process in which somebody labels at random instants, and check what is left against a calm run.

    Args:
        folder: An empty folder.
        kills: How often.
        seed: Of the instants and the answers.
        epochs: Of each fit.
        longest: Seconds that a process lives at most, after it has come to work.
        url: Of a database server.
    """
    rng, notes, run = random.Random(seed), folder / "notes.jsonl", folder / "run"
    begun(run, epochs, url)
    notes.touch()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["baldur.runs.trainer", "baldur.runs.opened"])
    hit = Counter()
    for life in range(kills):
        size = notes.stat().st_size
        process = context.Process(target=live, args=(run, notes, f"{seed} {life}", url))
        process.start()
        while process.is_alive() and notes.stat().st_size == size:  # it comes to work
            time.sleep(0.01)
        time.sleep(rng.uniform(0, longest))
        assert process.is_alive(), f"life {life} of seed {seed} ended by itself"
        process.kill()
        process.join()
        with Store.open(run, url=url) as store:
            last = store.phases()[-1:]
        hit[last[0].phase if last and last[0].seconds is None else "no phase"] += 1
    print(f"seed {seed}; killed in: {dict(hit)}")
    baldur.open(run, blobs(ITEMS)[0], db=url).train()
    ledger = everything_is_there_once(run, notes, url)
    calm = replayed(folder / "calm", run, ledger, epochs, url)
    assert calm.metrics().equals(baldur.open(run, db=url).metrics()), f"seed {seed}"
    assert not [finding for finding in doctor(run, url=url) if finding.level == "error"]


def everything_is_there_once(run, notes, url=None):
    """Check the ledger against the notes; gives the ledger."""
    kinds = {"tell": "label", "ingest": "label", "relabel": "correction"}
    acts, acknowledged = read(notes)
    said, perhaps = Counter(), Counter()
    for number, act in acts.items():
        events = [(kinds.get(act["verb"], act["verb"]), item, value) for item, value in act["said"].items()]
        (said if number in acknowledged else perhaps).update(events)
    with Store.open(run, url=url) as store:
        ledger = store.ledger()
    found = Counter((row.kind, row.item, row.value) for row in ledger)
    assert said <= found <= said + perhaps, (said - found, found - said - perhaps)
    assert [row.number for row in ledger] == list(range(1, len(ledger) + 1))
    return ledger


def replayed(folder, run, ledger, epochs, url=None):
    """A run in which the same events arrive in the same order, and whose rounds close at the same events."""
    calm = begun(folder, epochs)
    with Store.open(run, url=url) as store:
        (trial,) = store.trials()
        cuts = [trial.cut_of(round) for round in range(trial.latest().round + 1)]
    before = 0
    for cut in cuts:
        until = len(ledger) if cut is None else cut
        with Store.open(folder) as store:
            events = [
                Event(row.event, row.kind, row.item, row.annotator, row.value, source=row.source)
                for row in ledger[before:until]
            ]
            assert not store.trials()[0].tell(events).refused
        before = until
        assert calm.train() or cut is None
    print(f"{len(ledger)} events, {len(cuts)} rounds")
    return calm
