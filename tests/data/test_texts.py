"""Texts as inputs, against scikit-learn's own vectorizer and decomposition."""

import json

import numpy as np
import pytest
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import normalize

from baldur.data.texts import WIDTH, Texts, are_free, fit
from baldur.errors import InvalidData

RNG = np.random.default_rng(0)
WORDS = [f"word{i}" for i in range(300)]
MANY = [" ".join(RNG.choice(WORDS, 12)) for _ in range(600)]
FEW = ["who was first", "what is an owl", "where is the owl", "who was the first"]


def again(column):
    told = json.loads(json.dumps(column.as_json()))
    return Texts(told["name"], tuple(told["terms"]), tuple(told["idf"]), told["directions"])


def test_few_texts_keep_their_weights():
    column = fit("q", FEW)
    weights = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"\w+").fit(FEW)
    assert list(column.terms) == weights.get_feature_names_out().tolist()
    expected = WIDTH**0.5 * weights.transform(FEW).toarray()
    np.testing.assert_allclose(column.rows(FEW), expected, rtol=1e-5, atol=1e-6)


def test_many_texts_are_reduced_to_the_directions_of_the_pool():
    column = fit("q", MANY)
    assert column.width == WIDTH
    weights = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2, max_features=5000)
    x = weights.fit_transform(MANY)
    reduced = WIDTH**0.5 * normalize(TruncatedSVD(WIDTH, random_state=0).fit_transform(x))
    rows = column.rows(MANY)
    np.testing.assert_allclose(rows @ rows.T, reduced @ reduced.T, atol=0.5)  # of 200; directions are float16


@pytest.mark.parametrize("texts", [FEW, MANY])
def test_a_stored_column_makes_the_same_inputs(texts):
    column = fit("q", texts)
    np.testing.assert_array_equal(again(column).rows(texts[:7]), column.rows(texts)[:7])


def test_a_text_without_a_known_word_is_zero():
    rows = fit("q", MANY).rows(["never seen", "", "word1 word2"])
    assert not rows[:2].any()
    assert rows[2].any()
    assert fit("q", FEW).rows([]).shape == (0, fit("q", FEW).width)


def test_scripts_without_spaces_have_words():
    column = fit("q", ["梟は鳥です", "猫は獣です", "梟は森にいます"])
    assert {"梟", "は", "梟 は"} <= set(column.terms)
    assert are_free(["梟は鳥です", "猫は獣です"])


def test_free_texts_are_told_from_codes_and_names():
    assert are_free(FEW)
    assert not are_free([f"A-{i}" for i in range(30)])
    assert not are_free(["Paris", "New York", ""])
    assert not are_free([])


def test_texts_without_words():
    with pytest.raises(InvalidData, match="the column q have no words in common, such as '!!'"):
        fit("q", ["!!", "?"])
