"""The texts of the golden vectors; needs nothing but Python, so that the reference's Python can read it too."""

from __future__ import annotations

_WORDS = [
    "river",
    "stone",
    "engine",
    "violin",
    "market",
    "garden",
    "theory",
    "signal",
    "winter",
    "harbour",
    "copper",
    "letter",
    "forest",
    "machine",
    "bridge",
    "planet",
    "kitchen",
    "measure",
    "shadow",
    "teacher",
]


def many_words(count: int) -> str:
    """Return so many words by a rule: neighbours differ, and no stretch of 400 is another's."""
    return " ".join(_WORDS[(i * i + 7 * (i // 20) + i // 400) % len(_WORDS)] for i in range(count))


TEXTS = {
    "short": "How to build a recommender?",
    "one word": "clustering",
    "sentence": "Collaborative filtering recommends movies that people with similar tastes have liked.",
    "paragraph": (
        "Embeddings place texts in a space where distance means difference of meaning. A search encodes the query "
        "once and looks for the nearest documents; a recommendation starts from documents instead. Both depend on "
        "the same vectors, so an error in them is an error everywhere, e.g. in clusters, at 3.14 % or more."
    ),
    "long": many_words(230),
    "at the limit": many_words(254),
    "beyond the limit": many_words(255),
    "10,000 words": many_words(10_000),
    "empty": "",
    "white space": " \t\n ",
    "emoji": "I love this 😀🎉 👩‍👩‍👧 — 10/10 ❤️",
    "chinese": "机器学习模型的部署与监控。",
    "japanese": "ベクトル検索は意味の近い文書を見つけます。",
    "korean": "한국어 문장을 벡터로 바꿉니다.",
    "accents": "Crème brûlée déjà vu, Ångström, naïve façade",
    "arabic": "التعلم الآلي لتحليل النصوص",
    "code": "def add(a: int, b: int) -> int:\n    return a + b  # O(1)",
    "markup": "# Title\n\n* item **one**\n* item `two` <b>&amp;</b> https://example.org/a?b=c&d=e",
    "long word": "x" * 150 + " pneumonoultramicroscopicsilicovolcanoconiosis",
    "control characters": "a\x00b\u200bc\ufffdd\x07e",
    "special tokens": "[CLS] is not [SEP] but [MASK]",
    "special tokens of others": "<s> is <pad> not </s> but <unk> <mask>",
    "numbers": "1,234,567.89 −40 °C ½ Ⅻ ①",
}
