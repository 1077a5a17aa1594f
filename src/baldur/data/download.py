"""Downloads of single files, which can be resumed, are checked, and appear whole or not at all."""

import fcntl
import hashlib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from baldur.errors import DownloadFailed

Progress = Callable[[str, int, int], None]
"""Called with the name of the task, the amount that is done, and the total amount (0 if unknown)."""

_CHUNK = 1 << 18
_TIMEOUT = 30.0
_ATTEMPTS = 4


def fetch(
    url: str,
    path: Path,
    *,
    sha256: str | None = None,
    md5: str | None = None,
    progress: Progress | None = None,
) -> None:
    """Download `url` to `path`, unless the right file is there already.

    A partial download is kept beside it as `NAME.part`. This call or a later one resumes it.

    Args:
        url: An http or https address.
        path: The target file; its folder is created if needed.
        sha256: The expected SHA-256 of the content, in hexadecimal.
        md5: The expected MD5, if only that is published.
        progress: Called with the file's name, the downloaded bytes and the total bytes.

    Raises:
        DownloadFailed: The download failed, or the content is wrong; the message says what to do by hand.
    """
    algorithm, wanted = ("sha256", sha256) if sha256 else ("md5", md5)
    if path.exists() and _has_sum(path, algorithm, wanted):
        return
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(part, "a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # one process downloads, the others wait for it
            if path.exists() and _has_sum(path, algorithm, wanted):
                part.unlink(missing_ok=True)
                return
            _transfer(url, file, lambda done, total: progress and progress(path.name, done, total))
            file.flush()
            os.fsync(file.fileno())
            if not _has_sum(part, algorithm, wanted):
                part.unlink()
                raise DownloadFailed(
                    f"the download of {url} has another {algorithm} sum than {wanted} and was removed;"
                    f" {_by_hand(url, path)}"
                )
            os.replace(part, path)
    except (OSError, http.client.HTTPException) as error:
        if part.exists() and not part.stat().st_size:
            part.unlink()
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        code = f"{error.code} " if isinstance(error, urllib.error.HTTPError) else ""
        raise DownloadFailed(
            f"{url} could not be downloaded ({code}{reason}); {_by_hand(url, path)}"
        ) from error


def _transfer(url: str, file: BinaryIO, report: Callable[[int, int], object]) -> None:
    """Append the missing bytes to `file`; a broken transfer is resumed a few times."""
    for attempt in range(_ATTEMPTS):
        try:
            if _attempt(url, file, report):
                return
        except (TimeoutError, ConnectionError, http.client.HTTPException):
            if attempt == _ATTEMPTS - 1:
                raise
    raise ConnectionError(f"the connection broke off {_ATTEMPTS} times")


def _attempt(url: str, file: BinaryIO, report: Callable[[int, int], object]) -> bool:
    """One request for the missing bytes; returns whether the file is complete after it."""
    done = file.seek(0, os.SEEK_END)
    headers = {"User-Agent": "baldur"} | ({"Range": f"bytes={done}-"} if done else {})
    request = urllib.request.Request(url, headers=headers)
    if request.type not in ("http", "https"):
        raise DownloadFailed(f"{url} is not supported: only http and https addresses can be downloaded")
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # the range begins where the file ends: all of it, or more, is here
            return True
        raise
    with response:
        begins = response.headers.get("Content-Range", "").removeprefix("bytes ").split("-")[0]
        if done and (response.status != 206 or begins != str(done)):
            done = file.truncate(0)  # the server sends the whole file again
        length = response.headers.get("Content-Length")
        total = done + int(length) if length else 0
        report(done, total)
        while chunk := response.read(_CHUNK):
            done += file.write(chunk)
            report(done, total)
    return not total or done >= total


def _has_sum(path: Path, algorithm: str, wanted: str | None) -> bool:
    if wanted is None:
        return True
    with open(path, "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest() == wanted.lower()


def _by_hand(url: str, path: Path) -> str:
    return f"try again later, or download it yourself and put it at {path}"
