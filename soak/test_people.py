"""kill -9 while somebody labels: what was acknowledged is there once, and the curve is that of a calm run."""

from tests.runs.killed import kill_people


def test_killed_a_hundred_times_while_labelling(tmp_path):
    kill_people(tmp_path, kills=100, seed=1, epochs=40, longest=1.5)


def test_killed_while_labelling_on_a_server(tmp_path, server):
    kill_people(tmp_path, kills=20, seed=2, epochs=40, longest=1.5, url=server.url)
