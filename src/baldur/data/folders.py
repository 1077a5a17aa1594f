"""What the subfolders of a folder of images are: classes, or splits with classes inside."""

import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from baldur.errors import InvalidData

Layout = Literal["classes", "splits"]

_MEANING = {
    "train": ("train", "training"),
    "test": ("test", "testing", "eval", "evaluation", "holdout", "heldout"),
    "val": ("val", "valid", "validation", "dev", "development"),
    "unlabelled": ("unlabelled", "unlabeled", "unsup", "unsupervised", "unannotated"),
}
_SPLITS = {word: split for split, words in _MEANING.items() for word in words}
_ENDING = re.compile(r"(?<=[a-z])(sets?|data|images?|imgs?|splits?)$")
_STRUCTURE = re.compile(
    r"(image|img|jpegimage|picture|photo|label|annotation|ann|mask|bbox)s?|bboxes|meta|metadata|data"
)
"""Names of folders that tell how data are stored, so that they are hardly names of classes."""


class Place(NamedTuple):
    """A folder whose images, however deep, have one class and one split.

    Args:
        folder: The folder.
        label: The name of the class; "" if unknown.
        split: "train", "test", "val", or "" if not given.
    """

    folder: Path
    label: str
    split: str


@dataclass
class Tree:
    """The files below some folders.

    Args:
        is_image: Whether a file with this name is read.
        kind: What such a file is called.
        others: The number of other files by their suffix; hidden files do not count.
        loops: Links to a folder that contains them.
    """

    is_image: Callable[[str], bool]
    kind: str = "image"
    others: Counter[str] = field(default_factory=Counter)
    loops: list[Path] = field(default_factory=list)

    def images(self, folder: Path, deep: bool = True) -> list[Path]:
        """The images in a folder; links to folders are followed.

        Args:
            folder: The folder.
            deep: Whether subfolders are searched, too.

        Returns:
            Paths in order.

        Raises:
            InvalidData: A folder cannot be read.
        """
        above = (os.stat(parent) for parent in folder.absolute().parents)
        return sorted(self._images(folder, deep, frozenset((stat.st_dev, stat.st_ino) for stat in above)))

    def _images(self, folder: Path, deep: bool, above: frozenset[tuple[int, int]]) -> list[Path]:
        stat = os.stat(folder)
        if (stat.st_dev, stat.st_ino) in above:
            self.loops.append(folder)
            return []
        above = above | {(stat.st_dev, stat.st_ino)}
        found = []
        for entry in entries(folder):
            if entry.is_dir():
                found += self._images(folder / entry.name, deep, above) if deep else []
            elif self.is_image(entry.name):
                found.append(folder / entry.name)
            else:
                self.others[Path(entry.name).suffix.lower() or "without a suffix"] += 1
        return found

    def notes(self) -> list[str]:
        """What was not read, in sentences."""
        said = []
        if self.others:
            kinds = ", ".join(f"{n:,} {kind}" for kind, n in self.others.most_common())
            what = "1 file is" if self.others.total() == 1 else f"{self.others.total():,} files are"
            said.append(f"{what} no {self.kind} of a known kind, and left out: {kinds}")
        if self.loops:
            said.append(
                f"links that lead back into their own folder were not followed: {listed(map(str, self.loops))}"
            )
        return said


def entries(folder: Path) -> list[os.DirEntry[str]]:
    """The entries of a folder in order, without hidden ones and without runs, which have pictures of their own.

    Args:
        folder: The folder.

    Returns:
        Entries whose names begin neither with "." nor with "__", and that belong to no run.

    Raises:
        InvalidData: The folder cannot be read.
    """
    try:
        with os.scandir(folder) as found:
            seen = sorted((e for e in found if not e.name.startswith((".", "__"))), key=lambda e: e.name)
    except OSError as error:
        raise InvalidData(f"the folder {folder} cannot be read: {error.strerror}") from None
    own = {"artefacts"} if _is_run(folder) else set()
    return [e for e in seen if not (e.is_dir() and (e.name in own or _is_run(folder / e.name)))]


def _is_run(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("baldur.db", "database.toml"))


def subfolders(folder: Path) -> list[str]:
    """The names of the subfolders, in order; links to folders count.

    Args:
        folder: The folder.

    Returns:
        Names.
    """
    return [entry.name for entry in entries(folder) if entry.is_dir()]


def split_named(name: str) -> str:
    """The split that a folder's name means.

    Args:
        name: Such as "Train", "test_set" or "unlabeled".

    Returns:
        "train", "test", "val" or "unlabelled"; "" if it is no name of a split.
    """
    word = re.sub(r"[^a-z]", "", name.lower()) if re.fullmatch(r"[A-Za-z_ .-]+", name) else ""
    return _SPLITS.get(word) or _SPLITS.get(_ENDING.sub("", word), "")


def arranged(root: Path, layout: Layout | None, tree: Tree) -> tuple[list[Place], list[str]]:
    """The places of the classes and splits in a folder, and what was understood.

    Args:
        root: The folder.
        layout: Its subfolders; None recognises what is plain.
        tree: Reads the folders.

    Returns:
        Places, and sentences.

    Raises:
        InvalidData: The subfolders may be classes or splits, or are neither.
    """
    inside = subfolders(root)
    named = {name: split_named(name) for name in inside}
    parts = [name for name in inside if named[name]]
    if layout is None and parts and len(parts) < len(inside):
        rest = [name for name in inside if not named[name]]
        raise InvalidData(
            f"in {root}, {listed(parts)} {verb(parts, 'is the name of a split', 'are names of splits')}, but"
            f" {listed(rest)} {verb(rest, 'is not', 'are not')}. If each subfolder is a class, give --layout classes"
            " (layout='classes'). If they are splits, with a folder for each class inside, give --layout splits, and"
            " rename or remove the other folders that have images"
        )
    if layout == "splits" or (layout is None and parts):
        return _splits(root, layout, named, tree)
    return class_places(root, subfolders(root), "", layout, tree)


def _splits(
    root: Path, layout: Layout | None, named: dict[str, str], tree: Tree
) -> tuple[list[Place], list[str]]:
    places, notes, said = [], [], []
    if not any(named.values()):
        raise InvalidData(
            f"no subfolder of {root} is called train, test, val or unlabeled, as --layout splits needs it"
        )
    for name, split in named.items():
        if not split:
            if tree.images(root / name):
                raise InvalidData(
                    f"{root / name} has {tree.kind}s, but its name is of no split; call it train, test, val or"
                    " unlabeled, or move it out of the folder"
                )
            notes.append(f"the folder {name} has no {tree.kind}, and was left out")
        elif split == "unlabelled":
            places.append(Place(root / name, "", "train"))
            said.append(f"{name} (items without a class)")
        else:
            inner, more = class_places(root / name, subfolders(root / name), split, layout, tree)
            places += inner
            notes += more
            said.append(name if name.lower() == split else f"{name} ({split})")
            if not inner:
                notes.append(f"{name} has no class folders, so its {tree.kind}s were left out")
    if said and not any(place.split in ("test", "val") for place in places):
        notes.append("the test items are drawn from the training items")
    there = set(named.values())
    if "val" in there:
        notes.append(
            "the validation items were added to the training items"
            if "test" in there
            else "the validation items are the test items, because there are no others"
        )
    labels = {split: {p.label for p in places if p.split == split and p.label} for split in ("train", "test")}
    if labels["train"] and (only := sorted(labels["test"] - labels["train"])):
        notes.append(f"only the test items have the classes {listed(only)}")
    return places, [f"the subfolders are splits: {', '.join(said)}", *notes]


def class_places(
    root: Path, names: Sequence[str], split: str, layout: Layout | None, tree: Tree
) -> tuple[list[Place], list[str]]:
    """The class folders in a folder.

    Args:
        root: The folder.
        names: Its subfolders that may be classes.
        split: The split of all its images.
        layout: "classes" takes all of them, and "splits" those in a split; None recognises what is plain.
        tree: Reads the folders.

    Returns:
        Places, and sentences.

    Raises:
        InvalidData: The subfolders are hardly classes.
    """
    below = {name: subfolders(root / name) for name in names}
    if layout is None:
        hint = f"--layout {'splits' if split else 'classes'}"
        if len(names) == 1:
            _refuse_nested(root, names, below, hint, tree)
        if structure := [name for name in names if _STRUCTURE.fullmatch(name.lower())]:
            unlike = verb(structure, "does not look like a class", "do not look like classes")
            raise InvalidData(
                f"in {root}, {listed(structure)} {unlike}."
                f" If all subfolders are classes, give {hint}."
                " Otherwise give the folder that has the class folders, or a CSV file with the columns path and label"
            )
        inner = {name: [split_named(s) for s in below[name]] for name in names}
        divided = [name for name in names if any(inner[name])]
        if divided and split == "" and len(names) > 1:
            return _divided(root, names, inner, below, tree)
        _refuse_nested(root, names, below, hint, tree)
    return [Place(root / name, name, split) for name in names], []


def _divided(
    root: Path,
    names: Sequence[str],
    inner: dict[str, list[str]],
    below: dict[str, list[str]],
    tree: Tree,
) -> tuple[list[Place], list[str]]:
    """Class folders with splits inside."""
    for name in names:
        loose = tree.images(root / name, deep=False)
        if not inner[name] or not all(inner[name]) or loose:
            other = next(n for n in names if any(inner[n]))
            raise InvalidData(
                f"{root / other} has subfolders with names of splits ({listed(below[other])}), but {root / name} has"
                " not only these. Put the splits above the classes (train/CLASS, test/CLASS), or give --layout classes"
                " to ignore them"
            )
    places = [
        Place(
            root / name / part,
            "" if split == "unlabelled" else name,
            "train" if split == "unlabelled" else split,
        )
        for name in names
        for part, split in zip(below[name], inner[name], strict=True)
    ]
    return places, [f"each class folder has splits: {listed(sorted({p.folder.name for p in places}))}"]


def _refuse_nested(
    root: Path, names: Sequence[str], below: dict[str, list[str]], hint: str, tree: Tree
) -> None:
    """Refuse a single class folder, or several with the same subfolders, where those inside may be the classes."""
    sets = {tuple(below[name]) for name in names}
    if len(sets) != 1 or len(below[names[0]]) < 2 or any(tree.images(root / n, deep=False) for n in names):
        return
    inside = listed(below[names[0]])
    if len(names) == 1:
        raise InvalidData(
            f"{root} has one subfolder, {names[0]}, with the subfolders {inside}. If those are the classes or the"
            f" splits, give {root / names[0]}; if {names[0]} is a class, give {hint}"
        )
    raise InvalidData(
        f"in {root} the folders {listed(names)} all have the subfolders {inside}, so either may be the classes. Give"
        f" {hint} if {listed(names)} are the classes; otherwise move the images into a folder for each class"
    )


def verb(names: Sequence[str], one: str, several: str) -> str:
    """The form of a verb for some names.

    Args:
        names: The names.
        one: The form for one name.
        several: The form for several.

    Returns:
        One of the two.
    """
    return one if len(names) == 1 else several


def listed(names: "Sequence[str] | map[str]") -> str:
    """Some names in words.

    Args:
        names: At least one.

    Returns:
        At most five names, with "and" before the last.
    """
    some = list(names)
    if len(some) > 5:
        some = [*some[:5], f"{len(some) - 5} more"]
    return some[0] if len(some) == 1 else f"{', '.join(some[:-1])} and {some[-1]}"
