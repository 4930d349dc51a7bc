"""Search: from a query and options to hits, on any engine."""

from nearfield.search.options import FUSIONS, MODES, SearchKeywords, SearchOptions
from nearfield.search.query import Query
from nearfield.search.run import search_batch

__all__ = ["FUSIONS", "MODES", "Query", "SearchKeywords", "SearchOptions", "search_batch"]
