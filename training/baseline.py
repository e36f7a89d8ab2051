"""The baseline that a transformer must beat: TF-IDF n-grams and one logistic regression a label."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import Pipeline, make_pipeline

from duibiao.text import pieces


def fit_baseline(texts: Sequence[str], truth: NDArray[np.bool_], seed: int = 0) -> Pipeline:
    """Fit on texts and ``truth [n, k]``; ``predict_proba`` gives scores ``[n, k]``.

    Features are n-grams (1 to 3) of the same pieces that the model reads: Chinese characters and English words.
    """
    vectorizer = TfidfVectorizer(
        tokenizer=lambda text: [piece.lower() for piece in pieces(text)],
        token_pattern=None, lowercase=False, ngram_range=(1, 3), min_df=2, sublinear_tf=True,
    )  # fmt: skip
    regression = LogisticRegression(C=10, class_weight="balanced", max_iter=2000, random_state=seed)
    model = make_pipeline(vectorizer, OneVsRestClassifier(regression))
    with warnings.catch_warnings():  # a small training set may lack a label; its score is then constant
        warnings.filterwarnings("ignore", message="Label .* is present in")
        return model.fit(texts, truth)
