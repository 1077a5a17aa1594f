import os
import signal
import subprocess
import sys

import pytest

from baldur.errors import RunBusy
from baldur.store import Store, locks

HOLD = """
import sys, time
from pathlib import Path
from baldur.store import Store
with Store.open(Path(sys.argv[1])) as store, store.lock("trainer"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(run):
    with subprocess.Popen([sys.executable, "-c", HOLD, str(run.folder)], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def test_a_second_trainer_is_told_who_is_the_first(run, holder):
    assert locks.is_held(run.folder, "trainer")
    with pytest.raises(RunBusy, match=f"process {holder.pid} is already the trainer"), run.lock("trainer"):
        pass
    with run.lock("server"):
        assert not locks.is_held(run.folder, "other")
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    with run.lock("trainer"):
        assert locks.is_held(run.folder, "trainer")


def test_one_process_cannot_have_a_role_twice(run):
    with (
        run.lock("trainer"),
        Store.open(run.folder) as again,
        pytest.raises(RunBusy, match=f"process {os.getpid()}"),
        again.lock("trainer"),
    ):
        pass
    with pytest.raises(KeyError), run.lock("trainer"):
        raise KeyError
    assert not locks.is_held(run.folder, "trainer")
