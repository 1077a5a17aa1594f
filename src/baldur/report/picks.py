"""The picked items of each round: pictures where there are any, otherwise ids, each with its label."""

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from baldur.report import wording
from baldur.report.markup import Html, details, element, join
from baldur.report.study import Member, Study
from baldur.store import RequestRow, Trial

if TYPE_CHECKING:
    from PIL import Image

MOST_ITEMS = 24
"""At most so many picks of a round are shown, the best first."""

MOST_BYTES = 6_000_000
"""The largest total size of the pictures in a page."""


@dataclass(frozen=True)
class Asked:
    """The requests of a trial in one round.

    Args:
        round: The round.
        labels: The number of labels before it.
        requests: By rank.
        pictures: Data URIs of the first requests, in the same order; empty if there are no pictures.
        made_up: Data URIs of pairs, a labelled item and the item generated from it; empty if the learner
            generates none.
    """

    round: int
    labels: int
    requests: tuple[RequestRow, ...]
    pictures: tuple[str, ...]
    made_up: tuple[str, ...] = ()


def picked(study: Study) -> Html:
    """The picks of the first seed of each strategy, round by round.

    Args:
        study: The data of the page.

    Returns:
        The section; empty if nothing was picked.
    """
    members = [(member, list(_rounds(study, member))) for member in study.members]
    members = [(member, rounds) for member, rounds in members if rounds]
    parts = []
    for i, (member, rounds) in enumerate(members):
        shown = _thinned(rounds, MOST_BYTES // len(members))
        seed = rounds[0].requests[0].seed
        left_out = len(rounds) - len(shown)
        more = f"; {wording.count(left_out, 'round')} left out to keep the page small" if left_out else ""
        title = f"{member.name}, seed {seed}: {wording.count(len(rounds), 'round')}{more}"
        parts.append(details(title, *map(_show, shown), is_open=i == len(members) - 1))
    return join(parts)


def _rounds(study: Study, member: Member) -> Iterator[Asked]:
    """The rounds in which the first trial of a strategy chose items."""
    for trial in member.trials:
        requests = [request for request in member.requests if request.seed == trial.seed]
        if any(request.round > 0 for request in requests):
            yield from _rounds_of(study, trial, requests)
            return


def _rounds_of(study: Study, trial: Trial, requests: list[RequestRow]) -> Iterator[Asked]:
    labels = 0
    for round, rows in groupby(requests, key=lambda request: request.round):
        asked = tuple(rows)
        if round > 0:
            sheet = study.find(trial, round, "picks")
            pictures = tuple(tiles(sheet, MOST_ITEMS, len(asked))) if sheet else ()
            made_up = study.find(trial, round, "generated")
            pairs = tuple(tiles(made_up, 2 * MOST_ITEMS)) if made_up else ()
            yield Asked(round, labels, asked, pictures, pairs)
        labels += sum(request.label is not None for request in asked)


def tiles(sheet: Path, most: int, count: int | None = None) -> list[str]:
    """The first pictures of a contact sheet, which is one row of squares.

    Args:
        sheet: An image file.
        most: The largest number of pictures to return.
        count: The number of pictures that it should hold; None accepts any number.

    Returns:
        Data URIs from left to right; none if the number is wrong, or if the image is too large for Pillow.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(sheet) as opened:
            side = opened.height
            count = opened.width // side if count is None else count
            if opened.width != side * count:
                return []
            return [_uri(opened.crop((i * side, 0, (i + 1) * side, side))) for i in range(min(count, most))]
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError):
        return []


def _uri(image: "Image.Image") -> str:
    """The image as PNG or JPEG, whichever is smaller."""
    plain = image if image.mode in ("L", "RGB") else image.convert("RGB")
    png, jpeg = io.BytesIO(), io.BytesIO()
    plain.save(png, "PNG", optimize=True)
    plain.save(jpeg, "JPEG", quality=85)
    kind, data = min(("png", png.getvalue()), ("jpeg", jpeg.getvalue()), key=lambda pair: len(pair[1]))
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _thinned(rounds: list[Asked], most: int) -> list[Asked]:
    """Every round, or every second, third, ... if the pictures would be too large."""
    step = 1
    while (
        step < len(rounds)
        and sum(len(p) for one in rounds[::step] for p in one.pictures + one.made_up) > most
    ):
        step += 1
    return rounds[::step]


def _show(asked: Asked) -> Html:
    title = element(
        "h4", f"Round {asked.round}", element("span", f"after {wording.count(asked.labels, 'label')}")
    )
    shown = asked.requests[:MOST_ITEMS]
    if asked.pictures:
        items = [_tile(*pair) for pair in zip(shown, asked.pictures, strict=True)]
    else:
        items = [element("li", f"{one.item}: {_said(one)}", class_="words") for one in shown]
    hidden = len(asked.requests) - len(shown)
    if hidden:
        items.append(element("li", f"and {hidden} more", class_="words"))
    parts = [title, element("ul", *items, class_="tiles")]
    if asked.made_up:
        parts.append(element("h4", "Pairs", element("span", "a labelled item, then the generated one")))
        images = (
            element("li", element("img", src=p, alt="labelled or generated item")) for p in asked.made_up
        )
        parts.append(element("ul", *images, class_="tiles"))
    return element("div", *parts, class_="round")


_UNANSWERED = "not answered"


def _said(request: RequestRow) -> str:
    """The label, or why there is none; a round that people label may close before all its items were answered."""
    return request.label or (_UNANSWERED if request.state == "skipped" else request.state)


def _tile(request: RequestRow, picture: str) -> Html:
    label = _said(request)
    score = "" if request.score is None else f", score {request.score:.4g}"
    image = element("img", src=picture, alt=f"{request.item}: {label}", title=f"{request.item}{score}")
    return element(
        "li", image, "–" if label == _UNANSWERED else label
    )  # the words are too wide for a picture
