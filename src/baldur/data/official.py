"""The files of the named data sets: where they lie, or where they can be downloaded."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from baldur.data.download import Progress, fetch
from baldur.errors import DataNotFound, DownloadFailed


@dataclass(frozen=True)
class Official:
    """A published data set.

    Args:
        addresses: Where its files can be downloaded, each ending in "/"; tried in order.
        sums: Of each file its name and its sum, "sha256:..." or "md5:...".
        folders: What its folder may be called; downloads go to the first.
        alternatives: Other names under which people have each file.
    """

    addresses: tuple[str, ...]
    sums: Mapping[str, str]
    folders: tuple[str, ...]
    alternatives: Mapping[str, tuple[str, ...]]


def cache_folder(cache: Path | None = None) -> Path:
    """Where what can be computed or downloaded again is kept.

    Args:
        cache: The user's own choice; if not given $BALDUR_CACHE, or else ~/.cache/baldur.

    Returns:
        The folder, which need not exist.
    """
    return cache or Path(os.environ.get("BALDUR_CACHE") or Path.home() / ".cache" / "baldur")


def data_roots(data_dir: str | None, cache: Path | None) -> list[Path]:
    """The folders in which official files are looked for, in order; downloads go to the first.

    Args:
        data_dir: The user's own folder; if not given $BALDUR_DATA.
        cache: The user's own cache folder.

    Returns:
        Folders; the last, in the cache, need not exist.

    Raises:
        DataNotFound: The user's own folder is not there.
    """
    given = data_dir or os.environ.get("BALDUR_DATA")
    if given and not Path(given).expanduser().is_dir():
        raise DataNotFound(f"the data folder {given} is not there; give the folder in which the files lie")
    return [*([Path(given).expanduser()] if given else []), cache_folder(cache) / "data"]


def find(official: Official, roots: Sequence[Path]) -> dict[str, Path] | None:
    """The files of a published data set, if all of them lie in one of the user's folders.

    Args:
        official: What is looked for.
        roots: Where it may lie: in a folder of its own, or there itself.

    Returns:
        A path for each official file name, or None.
    """
    for folder in (root / name for root in roots for name in (*official.folders, ".")):
        files = {name: _present(folder, name, official) for name in official.sums}
        if None not in files.values():
            return {name: path for name, path in files.items() if path}
    return None


def download(official: Official, root: Path, progress: Progress | None) -> dict[str, Path]:
    """Download the files of a published data set that are not there yet.

    Args:
        official: What to download.
        root: Its folder is made below this one.
        progress: Called with the file's name, the bytes that are here and the bytes in all.

    Returns:
        A path for each official file name.

    Raises:
        DownloadFailed: A file cannot be had from any address.
    """
    folder = root / official.folders[0]
    return {name: _download(official, name, folder / name, progress) for name in official.sums}


def _present(folder: Path, name: str, official: Official) -> Path | None:
    names = (name, *official.alternatives.get(name, ()))
    return next((folder / other for other in names if (folder / other).is_file()), None)


def _download(official: Official, name: str, path: Path, progress: Progress | None) -> Path:
    algorithm, value = official.sums[name].split(":")
    failures = []
    for address in official.addresses:
        try:
            if algorithm == "sha256":
                fetch(address + name, path, sha256=value, progress=progress)
            else:
                fetch(address + name, path, md5=value, progress=progress)
            return path
        except DownloadFailed as failure:
            failures.append(str(failure))
    raise DownloadFailed("\n".join(failures))
