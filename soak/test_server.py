"""A database server whose files are on the disk is stopped at 25 random instants, as by a power cut."""

from tests.store import server as server_
from tests.store.test_kills import kill_the_server


def test_nothing_that_was_acknowledged_is_lost(tmp_path, server):
    told = kill_the_server(server_.begin(durable=True), tmp_path / "run", times=25)
    print(f"acknowledged: {told}")
    assert told > 25
