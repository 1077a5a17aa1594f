"""The display of a run in a notebook, which has no terminal."""

import sys
from types import ModuleType

from rich.console import Console

from baldur.loop import Event
from baldur.runs import live


class ZMQInteractiveShell:
    """What IPython calls the shell of a notebook."""


class Handle:
    def __init__(self):
        self.shown = []

    def update(self, html):
        self.shown.append(html)


def notebook(monkeypatch):
    handle = Handle()
    ipython, display = ModuleType("IPython"), ModuleType("IPython.display")
    ipython.get_ipython = ZMQInteractiveShell
    display.HTML = str
    display.display = lambda html, display_id: handle
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    return handle


def test_a_notebook_is_known_by_its_shell(monkeypatch):
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert not live.in_notebook()
    notebook(monkeypatch)
    assert live.in_notebook()


def test_the_bar_shows_how_far_it_is_and_goes_away(monkeypatch):
    handle = notebook(monkeypatch)
    monkeypatch.setattr(live, "_CELL_INTERVAL", -1)
    with live.Live(Console(quiet=True), points=4, notebook=True).showing() as observer:
        observer.event(Event("a<b", 0, 1, "measure", 20, {("accuracy", "test"): 0.5}))
    assert 'value="0.250"' in handle.shown[0]
    assert "a&lt;b, seed 0, round 1, 20 labels, accuracy 0.500" in handle.shown[0]
    assert handle.shown[-1] == ""
