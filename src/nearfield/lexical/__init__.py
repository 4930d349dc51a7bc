"""Lexical search: BM25 over the words of titles and texts."""
