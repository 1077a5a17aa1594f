"""Long tests hold the package to its types too, as the quick ones do, and use the same database server."""

from tests import typed
from tests.store.server import server, url

__all__ = ["server", "url"]

typed.install()
