"""Long tests hold the package to its types too, as the quick ones do."""

from tests import typed

typed.install()
