"""Search: from a query and options to hits, on any engine."""

from nearfield.search.options import FUSIONS, MODES, SearchKeywords, SearchOptions, search_options
from nearfield.search.query import Query
from nearfield.search.run import search_batch
from nearfield.search.unread import UnreadAnswers

__all__ = [
    "FUSIONS",
    "MODES",
    "Query",
    "SearchKeywords",
    "SearchOptions",
    "UnreadAnswers",
    "search_batch",
    "search_options",
]
