import random
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

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
    told = kill_the_server(server_.begin(), tmp_path / "run", times=3)
    assert told > 3


def kill_the_server(server, folder, times):
    """Stop a server at random instants while three tell events, one at a time. Returns how many were acknowledged."""
    chance, acknowledged = random.Random(3), dict.fromkeys(("ann", "bob", "cyd"), 0)

    def tell(name):
        with Store.open(folder) as run:
            trial = run.trial("bald", 0)
            while True:
                this = f"{name} {acknowledged[name]}"
                assert trial.tell([Event(this, "label", this, name, "cat")]).refused == {}
                acknowledged[name] += 1

    def tell_until_it_stops(name):
        with pytest.raises(StoreError, match=r"was lost|cannot connect"):
            tell(name)

    try:
        Store.create(folder, settings="", classes=["cat"], url=server.url).close()
        for _ in range(times):
            with ThreadPoolExecutor() as pool:
                before = sum(acknowledged.values())
                telling = [pool.submit(tell_until_it_stops, name) for name in acknowledged]
                while sum(acknowledged.values()) == before and not any(one.done() for one in telling):
                    time.sleep(0.01)
                time.sleep(chance.uniform(0, 0.2))
                server.stop()
                for one in telling:
                    one.result()
            server.start()
        with Store.open(folder) as run:
            found = [(row.number, row.annotator, row.event) for row in run.ledger()]
        assert [number for number, *_ in found] == list(range(1, len(found) + 1))
        for name, count in acknowledged.items():
            own = [event for _, annotator, event in found if annotator == name]
            assert own == [f"{name} {n}" for n in range(len(own))]
            assert count <= len(own) <= count + 1, "the last may be there although nobody was told so"
    finally:
        server.remove()
    return sum(acknowledged.values())


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
