"""The official files of the named data sets: finding and downloading them."""

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
        addresses: Download addresses, each ending in "/"; they are tried in order.
        sums: The checksum of each file by its name, "sha256:..." or "md5:...".
        folders: The possible names of its folder; downloads go to the first.
        alternatives: Other common names of each file.
    """

    addresses: tuple[str, ...]
    sums: Mapping[str, str]
    folders: tuple[str, ...]
    alternatives: Mapping[str, tuple[str, ...]]


def cache_folder(cache: Path | None = None) -> Path:
    """The folder for everything that can be computed or downloaded again.

    Args:
        cache: The user's choice; by default $BALDUR_CACHE, or else ~/.cache/baldur.

    Returns:
        The folder, which may not exist yet.
    """
    return cache or Path(os.environ.get("BALDUR_CACHE") or Path.home() / ".cache" / "baldur")


def data_roots(data_dir: str | None, cache: Path | None) -> list[Path]:
    """The folders that are searched for official files, in order; downloads go to the first.

    Args:
        data_dir: The user's own folder; by default $BALDUR_DATA.
        cache: The user's own cache folder.

    Returns:
        Folders; the last one is in the cache and may not exist yet.

    Raises:
        DataNotFound: The user's own folder does not exist.
    """
    given = data_dir or os.environ.get("BALDUR_DATA")
    if given and not Path(given).expanduser().is_dir():
        raise DataNotFound(f"the data folder {given} does not exist; give the folder that has the files")
    return [*([Path(given).expanduser()] if given else []), cache_folder(cache) / "data"]


def find(official: Official, roots: Sequence[Path]) -> dict[str, Path] | None:
    """The files of a published data set, if one of the user's folders has all of them.

    Args:
        official: The data set.
        roots: The folders to search; the files may also be in a subfolder of their own.

    Returns:
        A path for each official file name, or None.
    """
    for folder in (root / name for root in roots for name in (*official.folders, ".")):
        files = {name: _present(folder, name, official) for name in official.sums}
        if None not in files.values():
            return {name: path for name, path in files.items() if path}
    return None


def download(official: Official, root: Path, progress: Progress | None) -> dict[str, Path]:
    """Download the missing files of a published data set.

    Args:
        official: The data set.
        root: The folder in which its own folder is created.
        progress: Called with the file's name, the downloaded bytes and the total bytes.

    Returns:
        A path for each official file name.

    Raises:
        DownloadFailed: No address gives a file.
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
