"""HTML elements; text is escaped unless it is marked as HTML."""

from collections.abc import Container, Iterable, Sequence
from html import escape


class Html(str):
    """Text that is markup already; all other text is escaped in a page."""


Content = str | Html
"""The content of an element."""

_VOID = frozenset({"img", "meta"})


def element(name: str, *content: Content, **attributes: str) -> Html:
    """One element.

    Args:
        name: Its name.
        content: Its content; text is escaped, `Html` is not.
        attributes: Its attributes; a trailing underscore is dropped, another one becomes a hyphen.

    Returns:
        The markup.
    """
    given = "".join(f' {_name(key)}="{escape(value)}"' for key, value in attributes.items())
    if name in _VOID:
        return Html(f"<{name}{given}>")
    return Html(f"<{name}{given}>{join(content)}</{name}>")


def join(parts: Iterable[Content]) -> Html:
    """Several pieces, one after the other.

    Args:
        parts: Text, which is escaped, and markup, which is not.

    Returns:
        The markup.
    """
    return Html("".join(part if isinstance(part, Html) else escape(part) for part in parts))


def table(
    caption: str, head: Sequence[Content], rows: Iterable[Sequence[Content]], numbers: Container[int] = ()
) -> Html:
    """A table whose first column names the rows.

    Args:
        caption: The caption.
        head: The headings.
        rows: The rows, with one cell for each heading.
        numbers: The indices of the columns with numbers; they are aligned to the right.

    Returns:
        The markup. On a narrow screen, each row becomes a block with a line for each cell.
    """
    kinds = [{"class_": "number"} if i in numbers else {} for i in range(len(head))]
    headings = join(element("th", cell, scope="col", **kind) for cell, kind in zip(head, kinds, strict=True))
    body = []
    for first, *rest in rows:
        cells = [element("th", first, scope="row")]
        cells += [
            element("td", cell, **kind, data_head=plain)
            for cell, kind, plain in zip(rest, kinds[1:], head[1:], strict=True)
        ]
        body.append(element("tr", *cells))
    parts = (element("caption", caption), element("thead", element("tr", headings)), element("tbody", *body))
    whole = element("table", *parts)
    return element("div", whole, class_="scroll", tabindex="0", role="region", aria_label=caption)


def details(summary: Content, *content: Content, is_open: bool = False) -> Html:
    """A section that the reader can open and close.

    Args:
        summary: The title, which is always visible.
        content: The content, which is visible when it is open.
        is_open: Whether it is open at first.

    Returns:
        The markup.
    """
    attributes = {"open": ""} if is_open else {}
    return element("details", element("summary", summary), *content, **attributes)


def figure(svg: Html, *caption: Content) -> Html:
    """A drawing with a caption.

    Args:
        svg: The drawing.
        caption: The caption.

    Returns:
        The markup.
    """
    return element("figure", svg, element("figcaption", *caption))


def _name(key: str) -> str:
    return key.rstrip("_").replace("_", "-")
