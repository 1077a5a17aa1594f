import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from threading import Timer

import pytest
from tests.store import server as server_

from baldur.errors import StoreError
from baldur.store import Event, Store, doctor

LOOP = [sys.executable, str(Path(__file__).with_name("tiny_loop.py"))]
ROUNDS = 6


def test_killed_at_any_instant_a_run_ends_as_if_nothing_had_happened(tmp_path, url):
    more = [] if url is None else [url]
    subprocess.run([*LOOP, str(tmp_path / "calm"), str(ROUNDS), *more], check=True, capture_output=True)
    chance = random.Random(2)
    kills = 0
    while kills < 5:
        with subprocess.Popen(
            [*LOOP, str(tmp_path / "killed"), str(ROUNDS), *more], stdout=subprocess.PIPE
        ) as process:
            for _ in range(chance.randrange(1, 5)):  # of about sixty steps
                process.stdout.readline()
            time.sleep(chance.uniform(0, 0.02))  # about as long as a fit
            ended = process.poll() is not None
            process.kill()
        if ended:
            break
        kills += 1
        check_in_between(tmp_path / "killed")
    assert kills >= 3
    subprocess.run([*LOOP, str(tmp_path / "killed"), str(ROUNDS), *more], check=True, capture_output=True)
    with Store.open(tmp_path / "calm") as calm, Store.open(tmp_path / "killed") as killed:
        assert story(killed) == story(calm)
        assert attempts(killed) - attempts(calm) <= kills, "a restart repeats at most the interrupted phase"
        assert Counter(row.kind for row in killed.artefacts()) == Counter(
            row.kind for row in calm.artefacts()
        )


def test_a_server_that_is_killed_loses_nothing_that_was_acknowledged(tmp_path, server):
    chance, server, acknowledged = random.Random(3), server_.begin(), []

    def tell_until_it_stops(trial):
        while True:
            this = str(len(acknowledged))
            trial.tell([Event(this, "label", f"item {this}", "ann", "cat")])
            acknowledged.append(this)

    try:
        url = server.url  # of another port than that of the session, with the same password
        with Store.create(tmp_path / "run", settings="", classes=["cat"], url=url) as run:
            trial = run.trial("bald", 0)
            for _ in range(3):
                stopping = Timer(chance.uniform(0.05, 0.2), server.stop)
                stopping.start()
                with pytest.raises(StoreError, match=r"was lost|cannot connect"):
                    tell_until_it_stops(trial)
                stopping.join()
                server.start()
            found = [(row.number, row.event) for row in run.ledger()]
        assert len(acknowledged) > 3
        assert len(acknowledged) <= len(found) <= len(acknowledged) + 1, "the last may be there all the same"
        assert found == [(number + 1, str(number)) for number in range(len(found))]
    finally:
        server.remove()


def check_in_between(folder):
    findings = doctor(folder)
    assert not [finding for finding in findings if finding.level == "error"], findings
    with Store.open(folder) as run:
        for trial in run.trials():
            latest = trial.latest()
            if latest:
                assert sum(row.strategy == trial.strategy for row in run.requests()) == 3 * (latest.round + 1)


def story(run):
    """All that a run says of itself but for times, numbers of events and names of files."""
    return (
        run.requests(),
        run.metrics(),
        [(row.strategy, row.item, row.value, row.annotator, row.round) for row in run.labels()],
        [(trial.state, trial.reason, trial.latest(), trial.ranking(ROUNDS - 1)) for trial in run.trials()],
        sorted((row.strategy, row.round, row.kind, row.sha256) for row in run.artefacts()),
    )


def attempts(run):
    return len(run.phases())
