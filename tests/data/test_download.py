import hashlib
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from baldur.data import download
from baldur.data.download import fetch
from baldur.errors import DownloadFailed

CONTENT = bytes(range(256)) * 4096  # 1 MiB
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MD5 = hashlib.md5(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT; `breaks` says after how many bytes each of the next answers ends."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.breaks, self.ranges, self.asked = [], True, []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/file.bin"


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        if "missing" in self.path:
            self.send_error(404)
            return
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        begin = int(asked[1]) if asked and self.server.ranges else 0
        self.server.asked.append(int(asked[1]) if asked else 0)
        if begin >= len(CONTENT):
            self.send_error(416)
            return
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.send_header("Content-Length", str(len(CONTENT) - begin))
        self.end_headers()
        end = self.server.breaks.pop(0) if self.server.breaks else len(CONTENT)
        self.wfile.write(CONTENT[begin : begin + end])


@pytest.fixture
def server():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("sums", [{"sha256": SHA256}, {"md5": MD5}, {}])
def test_a_file_arrives_whole_and_nothing_else_is_left(server, tmp_path, sums):
    seen = []
    fetch(server.url, tmp_path / "a" / "f", progress=lambda *step: seen.append(step), **sums)
    assert (tmp_path / "a" / "f").read_bytes() == CONTENT
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["f"]
    assert seen[-1] == ("f", len(CONTENT), len(CONTENT))
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)


def test_a_right_file_is_not_downloaded_again_and_a_wrong_one_is(server, tmp_path):
    fetch(server.url, tmp_path / "f", sha256=SHA256)
    fetch(server.url, tmp_path / "f", sha256=SHA256)
    assert server.asked == [0]
    (tmp_path / "f").write_bytes(b"other")
    fetch(server.url, tmp_path / "f", sha256=SHA256)
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_a_broken_transfer_goes_on_where_it_stopped(server, tmp_path):
    server.breaks = [300_000, 200_000]
    fetch(server.url, tmp_path / "f", sha256=SHA256)
    assert server.asked == [0, 300_000, 500_000]


def test_what_arrived_is_kept_for_the_next_call(server, tmp_path):
    server.breaks = [100_000] * download._ATTEMPTS
    with pytest.raises(DownloadFailed, match="broke off"):
        fetch(server.url, tmp_path / "f", sha256=SHA256)
    assert not (tmp_path / "f").exists()
    kept = 100_000 * download._ATTEMPTS
    assert (tmp_path / "f.part").read_bytes() == CONTENT[:kept]
    fetch(server.url, tmp_path / "f", sha256=SHA256)
    assert server.asked[-1] == kept
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_a_server_that_ignores_ranges_sends_it_all_again(server, tmp_path):
    server.ranges = False
    (tmp_path / "f.part").write_bytes(b"x" * 1000)
    fetch(server.url, tmp_path / "f", sha256=SHA256)
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_a_whole_part_file_needs_no_more_bytes(server, tmp_path):
    (tmp_path / "f.part").write_bytes(CONTENT)
    fetch(server.url, tmp_path / "f", sha256=SHA256)
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_a_wrong_sum_removes_what_arrived(server, tmp_path):
    (tmp_path / "f.part").write_bytes(b"damaged at the start")
    with pytest.raises(DownloadFailed, match="another sha256 sum") as failure:
        fetch(server.url, tmp_path / "f", sha256=SHA256)
    assert str(tmp_path / "f") in str(failure.value)
    assert list(tmp_path.iterdir()) == []
    fetch(server.url, tmp_path / "f", sha256=SHA256)


def test_what_is_not_there_says_where_to_put_it_by_hand(server, tmp_path):
    with pytest.raises(DownloadFailed, match="404") as failure:
        fetch(server.url + "missing", tmp_path / "f", sha256=SHA256)
    assert f"put it at {tmp_path / 'f'}" in str(failure.value)
    assert list(tmp_path.iterdir()) == []


def test_no_connection_and_foreign_schemes_are_said(tmp_path):
    with pytest.raises(DownloadFailed, match="refused"):
        fetch("http://127.0.0.1:9/f", tmp_path / "f")
    with pytest.raises(DownloadFailed, match="only http"):
        fetch("file:///etc/hostname", tmp_path / "f")


def test_two_at_once_do_not_disturb_each_other(server, tmp_path):
    threads = [
        threading.Thread(target=fetch, args=(server.url, tmp_path / "f"), kwargs={"sha256": SHA256})
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert server.asked == [0]
    assert [path.name for path in tmp_path.iterdir()] == ["f"]
