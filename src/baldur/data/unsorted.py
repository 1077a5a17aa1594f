"""Folders of images that people will label: images in a folder of a class have its label, and others have none."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from baldur.data.folders import Layout, Place, Tree, class_places, listed, split_named, verb
from baldur.errors import InvalidData

_WITHOUT = ("unsorted", "unclassified", "uncategorized", "uncategorised", "nolabel", "nolabels", "todo")
"""Names of folders whose images have no label, beside those that `folders.split_named` knows."""


class Sorted(NamedTuple):
    """One image.

    Args:
        path: Its file.
        label: The name of its class; "" if unknown.
        split: "train", "test", "val", or "" if not given.
    """

    path: Path
    label: str
    split: str


def sorted_images(
    root: Path, layout: Layout | None, tree: Tree, classes: Sequence[str] | None
) -> tuple[list[Sorted], list[str]]:
    """All images below a folder, with the labels that its subfolders tell.

    If the classes are given, the label of an image is the first folder on its path that has the name of a class.
    Otherwise the subfolders are the classes, as in labelled data. Images in no such folder have no label.

    Args:
        root: The folder.
        layout: Its subfolders: "classes", or "splits" with class folders inside; None recognises what is plain.
        tree: Reads the folders.
        classes: The given classes; None takes those that occur.

    Returns:
        Images in the order of their paths, and sentences.

    Raises:
        InvalidData: It is not plain which subfolders are classes.
    """
    images = tree.images(root)
    parts = {path: path.relative_to(root).parts[:-1] for path in images}
    top = list(dict.fromkeys(p[0] for p in parts.values() if p))
    own = classes or ()
    splits = {name: split_named(name) for name in top if name not in own and not without_label(name)}
    is_split = any(splits.values()) if layout is None else layout == "splits"
    if not is_split:
        splits = {}
    elif other := [name for name, split in splits.items() if not split]:
        raise InvalidData(
            f"in {root}, {listed([name for name in splits if splits[name]] or ['no subfolder'])} is a split such as"
            f" train or test, but {listed(other)} {verb(other, 'is', 'are')} neither a split nor a class. Give"
            " --layout classes (layout='classes') if no subfolder is a split, or move these folders"
        )
    bases = [(root, "")] + [(root / name, split) for name, split in splits.items()]
    if classes is None:
        found, notes = _by_folder(bases, layout, tree, parts, splits)
    else:
        found, notes = _by_name(root, layout, parts, splits, classes)
    if splits:
        notes.insert(0, f"the subfolders are splits: {', '.join(splits)}")
    return found, notes


def without_label(name: str) -> bool:
    """Whether the name of a folder says that its images have no label.

    Args:
        name: Such as "unlabeled" or "To do".

    Returns:
        True if it does.
    """
    return split_named(name) == "unlabelled" or "".join(filter(str.isalpha, name.lower())) in _WITHOUT


def _by_folder(
    bases: Sequence[tuple[Path, str]],
    layout: Layout | None,
    tree: Tree,
    parts: dict[Path, tuple[str, ...]],
    splits: dict[str, str],
) -> tuple[list[Sorted], list[str]]:
    """The subfolders are the classes."""
    places, notes = dict[Path, Place](), list[str]()
    for base, split in bases:
        depth = 1 if split else 0
        below = [p[depth] for path, p in parts.items() if len(p) > depth and path.is_relative_to(base)]
        names = [n for n in dict.fromkeys(below) if not without_label(n) and (split or n not in splits)]
        made, said = class_places(base, names, split, layout, tree) if names else ([], [])
        places |= {place.folder: place for place in made}
        notes += said
    found = []
    for path, folders in parts.items():
        split = splits.get(folders[0], "") if folders else ""
        place = next((places[above] for above in path.parents if above in places), None)
        found.append(Sorted(path, place.label, place.split) if place else Sorted(path, "", split))
    return found, notes


def _by_name(
    root: Path,
    layout: Layout | None,
    parts: dict[Path, tuple[str, ...]],
    splits: dict[str, str],
    classes: Sequence[str],
) -> tuple[list[Sorted], list[str]]:
    """The classes are given."""
    found, inside = [], dict[Path, set[str]]()  # of each class folder its subfolders; "" for images in itself
    bare, above = Counter[str](), set[str]()
    for path, folders in parts.items():
        split = splits.get(folders[0], "") if folders else ""
        rest = folders[1:] if split else folders
        at = next((i for i, name in enumerate(rest) if name in classes), None)
        if at is not None and not without_label(rest[0]):
            whose = path.parents[len(rest) - 1 - at]
            inside.setdefault(whose, set()).add(rest[at + 1] if len(rest) > at + 1 else "")
            found.append(Sorted(path, rest[at], split))
            above.add(rest[0])
            continue
        if rest and not without_label(rest[0]):
            bare[rest[0]] += 1
        found.append(Sorted(path, "", split))
    if (names := [name for name in bare if name not in above]) and (inside or layout == "classes"):
        raise InvalidData(
            f"in {root}, {listed(names)} {verb(names, 'is a folder', 'are folders')} of images, but"
            f" {verb(names, 'is', 'are')} not among the classes {listed(list(classes))}. Add"
            f" {verb(names, 'it', 'them')} to the classes, or call the folder of images without a label unlabeled"
        )
    alike = {" ".join(name.casefold().split()): name for name in classes}
    if near := [name for name in names if " ".join(name.casefold().split()) in alike]:
        named = alike[" ".join(near[0].casefold().split())]
        raise InvalidData(
            f"in {root}, the folder {near[0]} is not called as the class {named!r}; write both in one way"
        )
    notes = []
    if names:
        notes.append(
            f"{listed(names)} {verb(names, 'is no class', 'are no classes')}, so the images there have no label"
        )
    divided = {whose for whose, names in inside.items() if all(map(split_named, names))}
    if divided:
        found = [_divided(image, divided) for image in found]
        notes.append("the class folders have splits")
    return found, notes


def _divided(image: Sorted, divided: set[Path]) -> Sorted:
    """An image whose class folder has splits inside."""
    for below, above in zip(image.path.parents, image.path.parents[1:], strict=False):
        if above in divided:
            split = split_named(below.name)
            return (
                image._replace(label="", split="train")
                if split == "unlabelled"
                else image._replace(split=split)
            )
    return image
