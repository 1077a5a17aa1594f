"""Texts as inputs: weights of their words and pairs of words, reduced to the directions that matter in the pool."""

import base64
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from baldur.errors import InvalidData

WIDTH = 200
"""Most inputs that a column of texts becomes."""

_MOST_TERMS = 5000
_REPEATS = 100  # texts from which on a term must occur in two of them
_LEAST_WORDS = 3  # of a free text, in the median
_TOKEN = r"(?u)[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+"  # each sign, or each word
_BATCH = 4096
_LENGTH = WIDTH**0.5  # of the inputs of a text, so that their mean square is 1 if there are WIDTH of them


@dataclass(frozen=True)
class Texts:
    """A column of texts, t ↦ √200 · U v(t) / |U v(t)|, where v(t) has the TF-IDF weights and U their D directions.

    The terms are words and pairs of words. U has the first right singular vectors of the weights in the pool
    (Deerwester et al., JASIS, 1990). In a small pool, U is the identity.

    Args:
        name: Of the column.
        terms: Words and pairs of words.
        idf: The weight of each term.
        directions: U as float16, shape (D, terms), in base64; "" for the identity.
    """

    name: str
    terms: tuple[str, ...]
    idf: tuple[float, ...]
    directions: str

    @property
    def width(self) -> int:
        """The number of inputs."""
        return len(self.terms) if not self.directions else len(self._directions)

    def rows(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The inputs of some texts.

        Args:
            texts: Any texts; one without a known term becomes zeros.

        Returns:
            Shape (n, width).
        """
        parts = [self._some(texts[i : i + _BATCH]) for i in range(0, len(texts), _BATCH)]
        return np.concatenate(parts) if parts else np.zeros((0, self.width), np.float32)

    def _some(self, texts: Sequence[str]) -> NDArray[np.float32]:
        from sklearn.preprocessing import normalize

        weights = self._vectorizer.transform(texts)
        reduced = weights @ self._directions.T if self.directions else weights.toarray()
        rows: NDArray[np.float64] = _LENGTH * normalize(reduced)
        return rows.astype(np.float32)

    @cached_property
    def _vectorizer(self) -> Any:
        made = _vectorizer(vocabulary=self.terms)
        made.idf_ = np.array(self.idf)
        return made

    @cached_property
    def _directions(self) -> NDArray[np.float64]:
        stored = np.frombuffer(base64.b64decode(self.directions), "<f2")
        return stored.reshape(-1, len(self.terms)).astype(np.float64)

    def as_json(self) -> dict[str, Any]:
        """The column as values that JSON can hold.

        Returns:
            The arguments of this class.
        """
        return asdict(self) | {"terms": list(self.terms), "idf": list(self.idf)}


def fit(name: str, texts: Sequence[str]) -> Texts:
    """Fit a column to the texts of the pool.

    Args:
        name: Of the column.
        texts: Of the pool.

    Returns:
        The column.

    Raises:
        InvalidData: No text has a word.
    """
    from sklearn.decomposition import TruncatedSVD

    vectorizer = _vectorizer(min_df=2 if len(texts) >= _REPEATS else 1, max_features=_MOST_TERMS)
    try:
        weights = vectorizer.fit_transform(texts)
    except ValueError:  # there is no term, or none occurs twice
        raise InvalidData(
            f"the texts of the column {name} have no words in common, such as {next(iter(texts), '')[:60]!r}; check "
            "that this is the column of texts"
        ) from None
    terms, idf = (
        tuple(vectorizer.get_feature_names_out().tolist()),
        tuple(np.round(vectorizer.idf_, 6).tolist()),
    )
    if len(terms) <= WIDTH or len(texts) <= WIDTH:
        return Texts(name, terms, idf, "")
    svd = TruncatedSVD(WIDTH, random_state=0).fit(weights)
    return Texts(name, terms, idf, base64.b64encode(svd.components_.astype("<f2").tobytes()).decode())


def are_free(texts: Sequence[str]) -> bool:
    """Whether values are plainly free texts: most have several words, or signs of a script without spaces.

    Args:
        texts: The values of a column.

    Returns:
        True if they are.
    """
    tokens = _vectorizer().build_tokenizer()
    counts = [len(tokens(text)) for text in texts if text]
    return bool(counts) and float(np.median(counts)) >= _LEAST_WORDS


def _vectorizer(**options: Any) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(
        ngram_range=(1, 2), sublinear_tf=True, token_pattern=_TOKEN, strip_accents=None, **options
    )
