"""A FAISS index as the rest of nearfield sees it: positions of candidates, found with more or less effort.

What FAISS finds are candidates only: whoever asks compares them with the full vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearfield.encode.protocol import Vectors
from nearfield.errors import NearfieldError
from nearfield.index.faiss import import_faiss, in_parts, in_this_thread, on_all_processors
from nearfield.index.kinds import make
from nearfield.index.lists import Lists

CHUNK = 16_384
"""Vectors that are added at once; a building is interrupted between two."""

FEW_QUERIES = 3
"""Queries that are searched one after another in less time than threads take to begin."""

MOST_COMPARED = 4_096
"""Lists up to which a query is compared with every centre to choose which to look at."""

TRIED = 8
"""Queries by which is tried whether a kind finds in chosen lists what it finds in those that it chooses itself."""

TOGETHER = 1_000
"""Queries for which lists are chosen at once; there are four thousand lists at most."""

LEARNED_PER_LIST = 100
LEAST_LEARNED = 20_000
"""Vectors that an index learns from, for each list, and at least."""

ROUNDS = 10
"""Of k-means for codes: FAISS's 25 take twice as long, and find no more neighbours."""

WIDE_BITS, WIDE_POINTS = 8, 64
"""Codes with so many bits learn from fewer examples than FAISS takes: these take it minutes."""

SEED = 1234

Positions = NDArray[np.int64]
Read = Callable[[Positions], Vectors]
"""Gives the vectors at some positions, float32 `(n, d)`."""


class Interrupted(NearfieldError):
    """A building was given up, since its process has other things to do."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How much an index looks at.

    Args:
        reach: Lists (`nprobe`) of an inverted file, or the queue (`efSearch`) of a graph; 0 where there is no choice.
        candidates: Vectors that it is asked for.
        margin: How much less near than the nearest list's centre another's may be, for that to be looked at; `reach` is
            then how many these are on the mean. None: `reach` lists for every query.
    """

    reach: int
    candidates: int
    margin: float | None = None


@dataclass(frozen=True, slots=True)
class Allowed:
    """Positions that may be found.

    Args:
        bits: uint8, a bit for each position, the least significant first.
        lists: The same for the lists that hold any; None for an index without lists.
        lists_count: How many these are.
    """

    bits: NDArray[np.uint8]
    lists: NDArray[np.uint8] | None = None
    lists_count: int = 0


class Ann:
    """An index that is built; it may be searched from several threads at once."""

    def __init__(self, index: Any) -> None:
        faiss = import_faiss()
        self._index = index
        self._inner = index
        self._transformed = isinstance(index, faiss.IndexPreTransform)
        if self._transformed:
            self._inner = faiss.downcast_index(index.index)
        self._ivf = faiss.try_extract_index_ivf(index)
        self.is_graph = isinstance(self._inner, faiss.IndexHNSW)  # finds vectors by way of their neighbours
        self._plain: dict[int, Any] = {}

    @property
    def count(self) -> int:
        """Number of vectors."""
        return int(self._index.ntotal)

    @property
    def lists(self) -> int:
        """Number of lists of an inverted file; 0 for others."""
        return int(self._ivf.nlist) if self._ivf is not None else 0

    @cached_property
    def selects(self) -> bool:
        """Whether it can look at allowed vectors only, however these lie; not all kinds with lists can."""
        if self._ivf is None:
            return False
        nothing = Allowed(np.zeros((self.count + 7) // 8, np.uint8))
        query = np.zeros((1, self._index.d), np.float32)
        try:
            found = on_all_processors(lambda: self._found(query, 1, self._selecting(self.lists, nothing)))
        except NearfieldError:
            return False
        return bool((found < 0).all())

    def reaches(self) -> list[int]:
        """Return the values of `Effort.reach` to choose from, rising."""
        if self._ivf is not None:
            steps = sorted({round(2 ** (step / 6)) for step in range(6 * 12)})  # each an eighth more than the last
            return [step for step in steps if step < self.lists] + [self.lists]
        if self.is_graph:
            return [16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 1024, 2048]
        return [0]

    def search(self, queries: Vectors, effort: Effort, allowed: Allowed | None = None) -> Positions:
        """Return positions of candidates for each query, int64 `(q, candidates)`, the best first; -1 where none is.

        A few queries are searched in the caller's thread, many on all processors.

        Raises:
            ValueError: `allowed` is given, and the index can't select.
            NearfieldError: FAISS can't search this kind.
        """
        if allowed is None and effort.margin is not None and self._lists is not None:
            return self._search_within(self._lists, queries, effort.candidates, effort.margin)
        parameters = self._parameters(effort.reach, allowed)
        if len(queries) > FEW_QUERIES:
            return on_all_processors(lambda: self._found(queries, effort.candidates, parameters))
        return in_this_thread(lambda: self._found(queries, effort.candidates, parameters))

    def _search_within(self, lists: Lists, queries: Vectors, candidates: int, margin: float) -> Positions:
        def find(some: slice) -> Positions:
            asked = queries[some]
            chosen = lists.within(asked, margin)
            return self._found(asked, candidates, self._parameters(chosen[0].shape[1], None), chosen)

        if len(queries) <= FEW_QUERIES:
            return in_this_thread(lambda: find(slice(None)))
        found = np.empty((len(queries), candidates), np.int64)

        def fill(part: slice) -> None:
            for start in range(part.start, part.stop, TOGETHER):
                some = slice(start, min(start + TOGETHER, part.stop))
                found[some] = find(some)

        in_parts(fill, len(queries))
        return found

    def _found(
        self, queries: Vectors, candidates: int, parameters: Any, chosen: tuple[Positions, Vectors] | None = None
    ) -> Positions:
        faiss, asked = import_faiss(), np.ascontiguousarray(queries, np.float32)
        found = np.empty((len(asked), candidates), np.int64)
        scores = np.empty((len(asked), candidates), np.float32)
        query, pointers = faiss.swig_ptr(asked), (faiss.swig_ptr(scores), faiss.swig_ptr(found))
        try:
            # Without the checks of FAISS's own wrapper, which take as long as a tenth of the search.
            if chosen is None:
                self._index.search_c(len(asked), query, candidates, *pointers, parameters)
            else:
                lists, nearness = map(faiss.swig_ptr, chosen)
                self._ivf.search_preassigned_c(
                    len(asked), query, candidates, lists, nearness, *pointers, False, parameters, None
                )
        except RuntimeError as error:
            raise NearfieldError(f"FAISS can't search a {type(self._inner).__name__} so: {error}") from error
        return found

    def margins(self, queries: Vectors) -> dict[int, float]:
        """Return, for each reach less than all lists, the margin with which it is reached on the mean of some queries.

        Nothing for a kind that has no lists, compares not all of their centres, or finds something else that way.
        """
        if self._lists is None or not self._takes_lists:
            return {}
        return self._lists.margins(queries, self.reaches()[:-1])

    @cached_property
    def _lists(self) -> Lists | None:
        faiss = import_faiss()
        if self._ivf is None or self._transformed or self.lists > MOST_COMPARED or not self._flat_quantizer():
            return None
        if self._ivf.metric_type != faiss.METRIC_INNER_PRODUCT:
            return None
        return Lists(self._ivf.quantizer.reconstruct_n(0, self.lists))

    @cached_property
    def _takes_lists(self) -> bool:
        centres = self._ivf.quantizer.reconstruct_n(0, min(self.lists, TRIED))
        efforts = Effort(1, 1), Effort(1, 1, 0.0)
        try:
            plain, within = (self.search(centres, effort) for effort in efforts)
        except NearfieldError:
            return False
        return bool((plain == within).all())

    def _parameters(self, reach: int, allowed: Allowed | None) -> Any:
        if allowed is not None:
            if not self.selects:
                raise ValueError("this kind of index can't select")
            return self._selecting(reach, allowed)
        if reach not in self._plain:
            self._plain[reach] = self._made(reach)
        return self._plain[reach]

    def _made(self, reach: int) -> Any:
        faiss = import_faiss()
        if self._ivf is not None:
            return self._within(faiss.SearchParametersIVF(nprobe=reach))
        return self._within(faiss.SearchParametersHNSW(efSearch=reach)) if self.is_graph else None

    def _selecting(self, reach: int, allowed: Allowed) -> Any:
        faiss = import_faiss()
        options: dict[str, Any] = {"sel": faiss.IDSelectorBitmap(allowed.bits), "nprobe": reach}
        if allowed.lists is not None and allowed.lists_count < self.lists and self._flat_quantizer():
            # The nearest lists among those that hold an allowed vector.
            options["quantizer_params"] = faiss.SearchParameters(sel=faiss.IDSelectorBitmap(allowed.lists))
            options["nprobe"] = min(reach, allowed.lists_count)
        return self._within(faiss.SearchParametersIVF(**options))

    def _flat_quantizer(self) -> bool:
        faiss = import_faiss()
        return isinstance(faiss.downcast_index(self._ivf.quantizer), faiss.IndexFlat)

    def _within(self, parameters: Any) -> Any:
        return import_faiss().SearchParametersPreTransform(index_params=parameters) if self._transformed else parameters

    def lists_of(self) -> NDArray[np.int32] | None:
        """Return the list of each position, int32 `(count,)`; None for an index without lists."""
        if self._ivf is None:
            return None
        faiss = import_faiss()
        owners = np.zeros(self.count, np.int32)
        for number in range(self.lists):
            size = self._ivf.invlists.list_size(number)
            if size:
                owners[faiss.rev_swig_ptr(self._ivf.invlists.get_ids(number), size)] = number
        return owners

    def add(self, vectors: Vectors) -> None:
        """Append vectors."""
        self._index.add(np.ascontiguousarray(vectors))

    def save(self, file: Path) -> None:
        """Write the index to a file, which the caller makes durable."""
        import_faiss().write_index(self._index, str(file))


def build(factory: str, dimension: int, count: int, read: Read) -> Ann:
    """Return an index of vectors at the positions from 0 to `count`.

    Args:
        factory: As `nearfield.index.kinds.recipe` gives it.
        dimension: Of the vectors.
        count: How many, at least one.
        read: Gives them; may raise `Interrupted`.

    Raises:
        NearfieldError: FAISS can't build it.
    """
    try:
        ann = on_all_processors(lambda: _learned(factory, dimension, count, read))
    except (RuntimeError, MemoryError) as error:
        raise NearfieldError(f"FAISS can't build {factory} of {count} vectors: {error}") from error
    extend(ann, count, read)
    return ann


def _learned(factory: str, dimension: int, count: int, read: Read) -> Ann:
    index = make(factory, dimension)
    with _quietly(index):
        if not index.is_trained:
            index.train(read(_sample(index, count)))
    return Ann(index)


def extend(ann: Ann, count: int, read: Read) -> None:
    """Append the vectors at the positions from the index's own count to `count`.

    Raises:
        NearfieldError: FAISS can't add to this kind.
    """

    def work() -> None:
        for begin in range(ann.count, count, CHUNK):
            ann.add(read(np.arange(begin, min(begin + CHUNK, count))))

    try:
        on_all_processors(work)
    except (RuntimeError, MemoryError) as error:
        raise NearfieldError(f"FAISS can't add vectors up to {count}: {error}") from error


def _sample(index: Any, count: int) -> Positions:
    ivf = import_faiss().try_extract_index_ivf(index)
    wanted = max(LEAST_LEARNED, LEARNED_PER_LIST * int(ivf.nlist) if ivf is not None else 0)
    if wanted >= count:
        return np.arange(count)
    return np.sort(np.random.default_rng(SEED).choice(count, wanted, replace=False))


@contextmanager
def _quietly(index: Any) -> Iterator[None]:
    """Keep FAISS from printing that it has few examples: recall is measured afterwards."""
    faiss = import_faiss()
    transformed = isinstance(index, faiss.IndexPreTransform)
    inner = faiss.downcast_index(index.index) if transformed else index
    storage = faiss.downcast_index(inner.storage) if hasattr(inner, "storage") else None
    steps = [faiss.downcast_VectorTransform(index.chain.at(i)) for i in range(index.chain.size() if transformed else 0)]
    rotations = [(step, faiss.ProductQuantizer(step.d_out, step.M, 8)) for step in steps if hasattr(step, "niter_pq")]
    for rotation, codes in rotations:
        rotation.pq = codes  # as it would make itself
    parts = [inner, *(getattr(inner, name, None) for name in ("pq", "refine_pq")), getattr(storage, "pq", None)]
    for part in (*parts, *(codes for _, codes in rotations)):
        if part is not None and hasattr(part, "cp"):
            part.cp.min_points_per_centroid = 1
    for pq in (getattr(inner, "pq", None), getattr(storage, "pq", None)):
        if pq is not None:
            pq.cp.niter = ROUNDS
            if pq.nbits >= WIDE_BITS:
                pq.cp.max_points_per_centroid = WIDE_POINTS
    yield
    for rotation, _ in rotations:
        rotation.pq = None


def load(file: Path, *, mapped: bool = True) -> Ann:
    """Return the index that `save` wrote, mapped where FAISS can; one that is to be changed must be read instead.

    Raises:
        RuntimeError: FAISS can't read it.
    """
    faiss = import_faiss()
    return Ann(faiss.read_index(str(file), faiss.IO_FLAG_MMAP_IFC if mapped else 0))
