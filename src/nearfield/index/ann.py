"""A FAISS index as the rest of nearfield sees it: positions of candidates, found with more or less effort.

What FAISS finds are candidates only: whoever asks compares them with the full vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearfield.encode.protocol import Vectors
from nearfield.errors import NearfieldError
from nearfield.index.faiss import import_faiss, on_all_processors
from nearfield.index.kinds import make

CHUNK = 16_384
"""Vectors that are added at once; a building is interrupted between two."""

FEW_QUERIES = 3
"""Queries that are searched one after another in less time than threads take to begin."""

LEARNED_PER_LIST = 100
LEAST_LEARNED = 20_000
"""Vectors that an index learns from, for each list, and at least."""

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
    """

    reach: int
    candidates: int


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
        self._is_graph = isinstance(self._inner, faiss.IndexHNSW)
        self._plain: dict[int, Any] = {}

    @property
    def count(self) -> int:
        """Number of vectors."""
        return int(self._index.ntotal)

    @property
    def lists(self) -> int:
        """Number of lists of an inverted file; 0 for others."""
        return int(self._ivf.nlist) if self._ivf is not None else 0

    @property
    def selects(self) -> bool:
        """Whether it can look at allowed vectors only, however these lie."""
        return self._ivf is not None

    def reaches(self) -> list[int]:
        """Return the values of `Effort.reach` to choose from, rising."""
        if self._ivf is not None:
            steps = sorted({round(2 ** (step / 3)) for step in range(3 * 12)})  # each a quarter more than the last
            return [step for step in steps if step < self.lists] + [self.lists]
        if self._is_graph:
            return [reach for reach in (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 1024, 2048) if reach]
        return [0]

    def search(self, queries: Vectors, effort: Effort, allowed: Allowed | None = None) -> Positions:
        """Return positions of candidates for each query, int64 `(q, candidates)`, the best first; -1 where none is.

        A few queries are searched in the caller's thread, many on all processors.

        Raises:
            ValueError: `allowed` is given, and the index can't select.
        """
        parameters = self._parameters(effort.reach, allowed)
        if len(queries) > FEW_QUERIES:
            return on_all_processors(lambda: self._found(queries, effort.candidates, parameters))
        import_faiss().omp_set_num_threads(1)
        return self._found(queries, effort.candidates, parameters)

    def _found(self, queries: Vectors, candidates: int, parameters: Any) -> Positions:
        found: Positions = self._index.search(queries, candidates, params=parameters)[1]
        return found

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
        return self._within(faiss.SearchParametersHNSW(efSearch=reach)) if self._is_graph else None

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


def build(factory: str, dimension: int, count: int, read: Read, stop: Callable[[], bool] = lambda: False) -> Ann:
    """Return an index of vectors at the positions from 0 to `count`.

    Args:
        factory: As `nearfield.index.kinds.recipe` gives it.
        dimension: Of the vectors.
        count: How many, at least one.
        read: Gives them.
        stop: Asked now and then whether to give up.

    Raises:
        Interrupted: `stop` said so.
        NearfieldError: FAISS can't build it.
    """
    try:
        ann = on_all_processors(lambda: _learned(factory, dimension, count, read))
        extend(ann, count, read, stop)
    except (RuntimeError, MemoryError) as error:
        raise NearfieldError(f"FAISS can't build {factory} of {count} vectors: {error}") from error
    return ann


def _learned(factory: str, dimension: int, count: int, read: Read) -> Ann:
    index = make(factory, dimension)
    _learn_quietly(index)
    if not index.is_trained:
        index.train(read(_sample(index, count)))
    return Ann(index)


def extend(ann: Ann, count: int, read: Read, stop: Callable[[], bool] = lambda: False) -> None:
    """Append the vectors at the positions from the index's own count to `count`; raises `Interrupted`."""

    def work() -> None:
        for vectors in _chunks(read, ann.count, count, stop):
            ann.add(vectors)

    on_all_processors(work)


def _chunks(read: Read, start: int, end: int, stop: Callable[[], bool]) -> Iterator[Vectors]:
    for begin in range(start, end, CHUNK):
        if stop():
            raise Interrupted("the building of an index was interrupted; it begins again when it is next needed")
        yield read(np.arange(begin, min(begin + CHUNK, end)))


def _sample(index: Any, count: int) -> Positions:
    ivf = import_faiss().try_extract_index_ivf(index)
    wanted = max(LEAST_LEARNED, LEARNED_PER_LIST * int(ivf.nlist) if ivf is not None else 0)
    if wanted >= count:
        return np.arange(count)
    return np.sort(np.random.default_rng(SEED).choice(count, wanted, replace=False))


def _learn_quietly(index: Any) -> None:
    """Keep FAISS from printing that it has few examples: recall is measured afterwards."""
    faiss = import_faiss()
    ivf = faiss.try_extract_index_ivf(index)
    inner = faiss.downcast_index(index.index) if isinstance(index, faiss.IndexPreTransform) else index
    for part in (ivf, getattr(ivf, "pq", None), getattr(inner, "pq", None)):
        if part is not None and hasattr(part, "cp"):
            part.cp.min_points_per_centroid = 1


def load(file: Path) -> Ann:
    """Return the index that `save` wrote; a large one is mapped, not read.

    Raises:
        RuntimeError: FAISS can't read it.
    """
    return Ann(import_faiss().read_index(str(file)))
