"""The nearest documents by an index: how a search goes about it, and what it falls back to.

An index finds candidates among the documents that it holds; those that came later are scanned. Candidates are compared
with the full vectors, so every score is exact, and only which documents are compared is approximate.

With a condition, whichever way is cheaper of those that keep the recall:

- few allowed documents are scanned;
- an index with lists looks at all lists that hold an allowed document, and within these at allowed ones only. That is a
  scan of small codes, as right for documents that lie far from the query as for those near it;
- another kind is asked for more candidates, as many more as documents are not allowed, and if too few of these are
  allowed after all, since those lie elsewhere, the allowed ones are scanned.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from math import ceil

import numpy as np
from numpy.typing import NDArray

from nearfield.encode.protocol import Vectors
from nearfield.index.ann import Allowed, Ann, Effort, Positions
from nearfield.index.exact import Scored, best_documents, rescore
from nearfield.index.names import Names
from nearfield.index.rows import Rows
from nearfield.index.tuning import Tuning

Slots = NDArray[np.int64]

SCANNED = 2_000
SCANNED_SHARE = 0.01
"""Allowed documents that are scanned, in number and as a share of all: the index would take as long."""

SPARE = 8
SPARE_SHARE = 0.1
"""Candidates beyond those needed, in number and as a share of them, for documents deleted since."""

MOST_DEAD = 0.8
"""Share of deleted documents above which the index would be asked for too many candidates."""

LESS_LIVE = 2
"""Times as many of the candidates as of all documents may be deleted where the index had no more to give."""

WIDER = 4
MOST_CANDIDATES = 16_384
"""Times as many candidates with each further look at all lists, and up to how many; beyond, a scan is as quick."""

MOST_WIDENED = 8
"""Times the candidates, up to which a kind that can't select is asked for more."""

KEPT = 64
"""Conditions whose positions are kept."""


@dataclass(frozen=True, slots=True)
class Approximate:
    """An index, what it was tuned to, and whose vectors it holds.

    Args:
        ann: The index.
        keys: int64 `(positions,)`, rising, the key of the document that owns each position.
        tuning: Its efforts.
        name: Of its kind.
        names: The doc_ids of its documents.
        asked: float32 `(q, d)`, queries of users that it was tuned to suit as well; maybe none.
        lists_of: int32 `(positions,)`, the list of each position; None for a kind without lists.
    """

    ann: Ann
    keys: NDArray[np.int64]
    tuning: Tuning
    name: str
    names: Names
    asked: Vectors
    lists_of: NDArray[np.int32] | None


@dataclass(frozen=True, slots=True)
class Documents:
    """The documents of a state.

    Args:
        rows: Their vectors.
        live: bool `(slots,)`.
        first_new: The first slot of a document that the index does not hold.
    """

    rows: Rows
    live: NDArray[np.bool_]
    first_new: int


@dataclass(slots=True)
class _Selection:
    """Which positions a condition allows, made when it is first needed."""

    mask: NDArray[np.bool_]
    count: int
    allowed: Allowed | None = None


@dataclass(slots=True)
class Nearest:
    """Searches a state by an index.

    Args:
        approximate: The index.
        slots: int64 `(positions,)`, the slot of each position's document; -1 for one that is gone.
        documents: Of the state.
    """

    approximate: Approximate
    slots: Slots
    documents: Documents
    _dead: float = field(init=False)
    _passages: int = field(init=False)
    _fresh: Slots = field(init=False)
    _selections: OrderedDict[int, _Selection] = field(init=False, default_factory=OrderedDict)
    _known: dict[int, tuple[Effort, int, str] | None] = field(init=False, default_factory=dict)
    _lock: threading.Lock = field(init=False, default_factory=threading.Lock)

    def __post_init__(self) -> None:
        live, first = self.documents.live, self.documents.first_new
        self._fresh = first + np.flatnonzero(live[first:])
        held = len(self.approximate.names.keys)
        there = int(np.count_nonzero(live[:first]))
        self._dead = 1 - there / max(held, 1)
        self._passages = ceil(len(self.slots) / max(held, 1))

    def search(
        self, queries: Vectors, k: int, mask: NDArray[np.bool_] | None, excluded: Slots
    ) -> tuple[list[Scored], str]:
        """Return, for each query, the best documents with their exact scores, at least k if there are as many, and how.

        Args:
            queries: float32 `(q, d)`, at unit length or zero.
            k: How many.
            mask: bool `(slots,)`, which documents are allowed; None: all that are live.
            excluded: Slots, each allowed otherwise, of documents that are not.
        """
        if len(excluded) > SCANNED:
            mask = (self.documents.live if mask is None else mask).copy()
            mask[excluded] = False
            excluded = excluded[:0]
        if mask is None:
            return self._unfiltered(queries, k, excluded)
        return self._filtered(queries, k, self._selected(mask), excluded)

    # -- without a condition -------------------------------------------------------------------------------------------

    def _unfiltered(self, queries: Vectors, k: int, excluded: Slots) -> tuple[list[Scored], str]:
        wanted = (k + len(excluded)) * self._passages
        if wanted not in self._known:
            self._known[wanted] = self._effort(wanted)
        known = self._known[wanted]
        if known is None:
            return self._scan(queries, k, self.documents.live, excluded)
        effort, needed, plan = known
        found = self._by_index(queries, k, effort, None, excluded, needed)
        return self._repaired(found, queries, k, self.documents.live, excluded, plan)

    def _effort(self, wanted: int) -> tuple[Effort, int, str] | None:
        """Return the effort for so many vectors, how many candidates are needed, and what to say of it."""
        effort = self.approximate.tuning.effort(wanted)
        if effort is None or self._dead > MOST_DEAD:
            return None
        candidates = effort.candidates
        if self._dead > 0:
            candidates = ceil(candidates / (1 - self._dead) * (1 + SPARE_SHARE)) + SPARE
        asked = self._within(replace(effort, candidates=candidates))
        return asked, effort.candidates, f"{self.approximate.name}: {self._looked_at(asked)}{self._and_new()}"

    # -- with a condition ----------------------------------------------------------------------------------------------

    def _filtered(self, queries: Vectors, k: int, selection: _Selection, excluded: Slots) -> tuple[list[Scored], str]:
        if selection.count <= max(SCANNED, SCANNED_SHARE * len(selection.mask)):
            return self._scan(queries, k, selection.mask, excluded)
        approximate = self.approximate
        wanted = (k + len(excluded)) * self._passages
        if approximate.ann.selects:
            candidates = approximate.tuning.candidates(wanted)
            if candidates is None:
                return self._scan(queries, k, selection.mask, excluded)
            allowed = self._allowed(selection)
            if not allowed.lists_count:  # all of them are new
                return self._scan(queries, k, selection.mask, excluded)
            effort = self._within(Effort(approximate.ann.lists, candidates))
            found = self._by_all_lists(queries, k, effort, allowed, excluded, selection)
            plan = (
                f"{approximate.name}: all {allowed.lists_count} of {approximate.ann.lists} lists that hold one of the "
                f"{selection.count} allowed documents, {effort.candidates} or more candidates rescored{self._and_new()}"
            )
        else:
            widened = self._widened(wanted, selection)
            if widened is None:
                return self._scan(queries, k, selection.mask, excluded)
            effort, needed = widened
            found = self._by_index(queries, k, effort, None, excluded, needed, selection.mask)
            plan = (
                f"{approximate.name}, widened for {selection.count} allowed documents: {self._looked_at(effort)}"
                f"{self._and_new()}"
            )
        return self._repaired(found, queries, k, selection.mask, excluded, plan)

    def _by_all_lists(
        self, queries: Vectors, k: int, effort: Effort, allowed: Allowed, excluded: Slots, selection: _Selection
    ) -> list[Scored | None]:
        """Return the best documents of each query, with ever more candidates for those that need them.

        How many are needed was measured with each query's own neighbours. What is far from a query is often as far as
        much else, and codes can't tell it apart.
        """
        late = int((1 - self.approximate.tuning.target) * k / 2)
        found = self._by_index(queries, k, effort, allowed, excluded, 0, selection.mask, late)
        while None in found and WIDER * effort.candidates <= min(MOST_CANDIDATES, selection.count):
            effort = Effort(effort.reach, WIDER * effort.candidates)
            left = [row for row, answer in enumerate(found) if answer is None]
            again = self._by_index(queries[left], k, effort, allowed, excluded, 0, selection.mask, late)
            for row, answer in zip(left, again, strict=True):
                found[row] = answer
        return found

    def _widened(self, wanted: int, selection: _Selection) -> tuple[Effort, int] | None:
        """Return the effort of which enough candidates are likely allowed, and how many are enough."""
        effort = self.approximate.tuning.effort(wanted)
        times = len(selection.mask) / selection.count * 1.5
        if effort is None or times > MOST_WIDENED:
            return None
        candidates = ceil(effort.candidates * times)
        reach = min(max(effort.reach, candidates), self.approximate.ann.reaches()[-1])
        return self._within(Effort(reach, candidates)), effort.candidates

    def _selected(self, mask: NDArray[np.bool_]) -> _Selection:
        """Return what is kept of a condition: masks of equal conditions are one object."""
        with self._lock:
            known = self._selections.get(id(mask))
            if known is not None and known.mask is mask:
                self._selections.move_to_end(id(mask))
                return known
            selection = self._selections[id(mask)] = _Selection(mask, int(np.count_nonzero(mask)))
            if len(self._selections) > KEPT:
                self._selections.popitem(last=False)
            return selection

    def _allowed(self, selection: _Selection) -> Allowed:
        if selection.allowed is None:
            positions = selection.mask[self.slots]
            positions[self.slots < 0] = False
            owners = self.approximate.lists_of
            lists = np.zeros(self.approximate.ann.lists, np.bool_)
            if owners is not None:
                lists[owners[positions]] = True
            selection.allowed = Allowed(
                np.packbits(positions, bitorder="little"),
                np.packbits(lists, bitorder="little"),
                int(np.count_nonzero(lists)),
            )
        return selection.allowed

    # -- steps ---------------------------------------------------------------------------------------------------------

    def _by_index(
        self,
        queries: Vectors,
        k: int,
        effort: Effort,
        allowed: Allowed | None,
        excluded: Slots,
        needed: int,
        mask: NDArray[np.bool_] | None = None,
        late: int | None = None,
    ) -> list[Scored | None]:
        """Return the best documents of each query; None where the candidates were too few.

        That is where fewer than `needed` are allowed, or than k, or where more than `late` of the best k are among the
        later half of the candidates: then there are likely more beyond them.
        """
        mask = self.documents.live if mask is None else mask
        fresh = self._new_documents(queries, k, mask, excluded)
        answers: list[Scored | None] = []
        for query, positions, new in zip(
            queries, self.approximate.ann.search(queries, effort, allowed), fresh, strict=True
        ):
            candidates = self._candidates(positions, mask, excluded, k, needed)
            if candidates is None or len(candidates) + len(new[0]) < k:
                answers.append(None)
                continue
            best = rescore(self.documents.rows, query, candidates, k, single=self._passages == 1)
            if late is not None and self._is_late(positions, best, k, late):
                answers.append(None)
                continue
            answers.append(_together(best, new) if len(new[0]) else best)
        return answers

    def _is_late(self, positions: Positions, best: Scored, k: int, late: int) -> bool:
        if positions[-1] < 0:  # there are no more
            return False
        first = self.slots[positions[: len(positions) // 2]]
        nearest = best[0][np.argsort(-best[1], kind="stable")[:k]]
        return int(np.count_nonzero(~np.isin(nearest, first))) > late

    def _candidates(
        self, positions: Positions, mask: NDArray[np.bool_], excluded: Slots, k: int, needed: int
    ) -> Slots | None:
        """Return the documents of some positions that are allowed; None if they are too few to hold the best k."""
        if positions[-1] < 0:  # those that were not found stand at the end
            positions = positions[positions >= 0]
            # With more candidates it would have found no more, and no more when it was tuned.
            needed = min(needed, ceil(len(positions) * max(0.5, 1 - LESS_LIVE * self._dead)))
        slots = self.slots[positions]
        if self._dead or mask is not self.documents.live:
            slots = slots[mask[slots] & (slots >= 0)]
        if len(slots) < needed:
            return None
        if len(excluded):
            slots = slots[~np.isin(slots, excluded)]
        if self._passages > 1:
            # The effort is enough for so many vectors; the k-th document's must be among these.
            if len(np.unique(slots[: k * self._passages])) < k:
                return None
            slots = np.unique(slots)
        return slots

    def _new_documents(self, queries: Vectors, k: int, mask: NDArray[np.bool_], excluded: Slots) -> list[Scored]:
        fresh = self._fresh
        if not len(fresh):
            return [_NOTHING] * len(queries)
        if mask is not self.documents.live:
            fresh = fresh[mask[fresh]]
        if len(excluded):
            fresh = fresh[~np.isin(fresh, excluded)]
        return best_documents(self.documents.rows, queries, k, fresh)

    def _repaired(
        self, found: list[Scored | None], queries: Vectors, k: int, mask: NDArray[np.bool_], excluded: Slots, plan: str
    ) -> tuple[list[Scored], str]:
        """Return the answers, with a scan in the place of those that the index could not give, and the plan."""
        answers = [answer for answer in found if answer is not None]
        if len(answers) == len(found):
            return answers, plan
        missing = np.array([answer is None for answer in found])
        scanned, scan = self._scan(queries[missing], k, mask, excluded)
        whole, rest = iter(answers), iter(scanned)
        plan += f"; for {len(scanned)} of {len(found)} queries these were too few: {scan}"
        return [next(rest) if lacking else next(whole) for lacking in missing], plan

    def _scan(self, queries: Vectors, k: int, mask: NDArray[np.bool_], excluded: Slots) -> tuple[list[Scored], str]:
        documents = np.flatnonzero(mask)
        if len(excluded):
            documents = documents[~np.isin(documents, excluded)]
        return best_documents(self.documents.rows, queries, k, documents), f"exact scan of {len(documents)} documents"

    def _within(self, effort: Effort) -> Effort:
        return replace(effort, candidates=min(effort.candidates, self.approximate.ann.count))

    def _looked_at(self, effort: Effort) -> str:
        ann = self.approximate.ann
        number = effort.reach if effort.margin is None else f"about {effort.reach}"
        where = f"the nearest {number} of {ann.lists} lists" if ann.lists else f"a queue of {effort.reach}"
        return f"{where if effort.reach else 'all codes'}, {effort.candidates} candidates rescored"

    def _and_new(self) -> str:
        return f"; exact scan of {len(self._fresh)} new documents" if len(self._fresh) else ""


_NOTHING: Scored = (np.empty(0, np.int64), np.empty(0))


def _together(best: Scored, new: Scored) -> Scored:
    return np.concatenate((best[0], new[0])), np.concatenate((best[1], new[1]))
