"""`where`: a Mongo-style mapping, parsed into one condition on metadata.

    {"category": "beginner", "year": {"$gte": 2024}}
    {"$or": [{"tags": {"$contains": "numpy"}}, {"author.name": {"$in": ["Ann", "Bo"]}}]}

What the operators mean:

- A field is a key of the metadata, or a dotted path into nested objects; a key that itself holds the dots goes first.
- `$eq` and plain values: equal, and of the same kind: 1 equals 1.0, but not true, nor "1". None also matches documents
  without the field. `$ne` is its opposite, so it matches documents without the field too.
- `$gt $gte $lt $lte` compare numbers with numbers and strings with strings (so ISO dates compare as dates). Documents
  without the field, or with null, don't match. A value of another kind can't compare: an error.
- `$in`, `$nin`: equal to one of a list, to none of a list.
- `$exists`: the field is there (true) or not (false); null is there.
- `$contains`: the array has an equal element, or the string has the substring.
- `$and`, `$or`: a list of conditions; `$not`: one condition, or, below a field, operators.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from nearfield.documents import JSON
from nearfield.documents.document import check_metadata
from nearfield.errors import InvalidInput

Where: TypeAlias = Mapping[str, Any]
Truth = TypeVar("Truth", np.bool_, NDArray[np.bool_])

FIELD_OPERATORS = ("$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$exists", "$contains", "$not")
GROUP_OPERATORS = ("$and", "$or", "$not")
_ORDERINGS: dict[str, Callable[[Any, Any], bool]] = {
    "$gt": lambda value, operand: value > operand,
    "$gte": lambda value, operand: value >= operand,
    "$lt": lambda value, operand: value < operand,
    "$lte": lambda value, operand: value <= operand,
}


class _Missing:
    def __repr__(self) -> str:
        return "<missing>"


MISSING: Final = _Missing()
"""What `look_up` returns for a document without the field."""

Value: TypeAlias = JSON | _Missing


class Condition(ABC):
    """A parsed `where`: tells which documents match."""

    @abstractmethod
    def evaluate(self, test: Callable[[Test], Truth]) -> Truth:
        """Return the truth of the whole from the truth of each test, for one document or for an array of them."""

    def matches(self, metadata: Mapping[str, JSON]) -> bool:
        """Return whether one document matches.

        Raises:
            InvalidInput: a field's value can't compare with the condition's.

        >>> parse({"year": {"$gte": 2024}}).matches({"year": 2025})
        True
        """
        return bool(self.evaluate(lambda test: np.bool_(test.holds(look_up(metadata, test.field)))))


@dataclass(frozen=True)
class Test(Condition):
    """One operator on one field."""

    field: str
    operator: str
    operand: Any

    __test__ = False  # its name is no request to pytest

    def evaluate(self, test: Callable[[Test], Truth]) -> Truth:
        """Return what the test says."""
        return test(self)

    def holds(self, value: Value) -> bool:
        """Return whether a field's value, or `MISSING`, passes.

        Raises:
            InvalidInput: an ordering of different kinds, or `$contains` on a value that contains nothing.
        """
        match self.operator:
            case "$eq":
                return equal(value, self.operand)
            case "$in":
                return any(equal(value, choice) for choice in self.operand)
            case "$exists":
                return bool((value is not MISSING) == self.operand)
            case "$contains":
                return self._contains(value)
            case _:
                return self._orders(value)

    def _contains(self, value: Value) -> bool:
        if value is MISSING or value is None:
            return False
        if isinstance(value, list):
            return any(equal(element, self.operand) for element in value)
        if isinstance(value, str) and isinstance(self.operand, str):
            return self.operand in value
        raise self._incomparable(value)

    def _orders(self, value: Value) -> bool:
        if value is MISSING or value is None:
            return False
        if kind(value) != kind(self.operand):
            raise self._incomparable(value)
        return bool(_ORDERINGS[self.operator](value, self.operand))

    def _incomparable(self, value: Value) -> InvalidInput:
        return InvalidInput(
            f"where: {self.operator} can't compare field {self.field!r} of a document, {value!r} ({kind(value)}), with "
            f"{self.operand!r} ({kind(self.operand)}); give a value of the kind that the field holds"
        )


@dataclass(frozen=True)
class All(Condition):
    """Every condition holds; there is at least one."""

    conditions: tuple[Condition, ...]

    def evaluate(self, test: Callable[[Test], Truth]) -> Truth:
        """Return whether all hold; every one is tested, so that a value that can't compare is always told."""
        first, *others = [condition.evaluate(test) for condition in self.conditions]
        for other in others:
            first = first & other
        return first


@dataclass(frozen=True)
class Some(Condition):
    """At least one condition holds."""

    conditions: tuple[Condition, ...]

    def evaluate(self, test: Callable[[Test], Truth]) -> Truth:
        """Return whether some hold; every one is tested."""
        first, *others = [condition.evaluate(test) for condition in self.conditions]
        for other in others:
            first = first | other
        return first


@dataclass(frozen=True)
class Not(Condition):
    """The condition does not hold."""

    condition: Condition

    def evaluate(self, test: Callable[[Test], Truth]) -> Truth:
        """Return the opposite."""
        return ~self.condition.evaluate(test)


def parse(where: Where | None) -> Condition | None:
    """Return the condition that `where` states; None if it states none (None or an empty mapping).

    Raises:
        InvalidInput: an unknown operator, or an operand of the wrong type.

    >>> parse({"year": 2024})
    Test(field='year', operator='$eq', operand=2024)
    """
    if where is None:
        return None
    if not isinstance(where, Mapping):
        raise InvalidInput(f"where must be a mapping such as {{'year': {{'$gte': 2024}}}}, got {where!r}")
    # The same checks as for metadata: an operand that metadata can't hold is a mistake.
    checked = check_metadata(where)
    return _parse(checked) if checked else None


def canonical(where: Where | None) -> str:
    """Return one string for a `where`, the same for mappings that differ only in the order of their keys."""
    return json.dumps(where or {}, sort_keys=True)


def _parse(where: Mapping[str, Any]) -> Condition:
    return _all([_group(key, value) if key.startswith("$") else _field(key, value) for key, value in where.items()])


def _all(conditions: Sequence[Condition]) -> Condition:
    return conditions[0] if len(conditions) == 1 else All(tuple(conditions))


def _group(operator: str, operand: Any) -> Condition:
    if operator == "$not":
        if not isinstance(operand, Mapping) or not operand:
            raise InvalidInput(f"where: $not takes one condition (a non-empty mapping), got {operand!r}")
        return Not(_parse(operand))
    if operator not in GROUP_OPERATORS:
        raise InvalidInput(
            f"where: unknown operator {operator!r}; outside a field there are {', '.join(GROUP_OPERATORS)}"
        )
    if not isinstance(operand, list) or not operand or not all(isinstance(c, Mapping) and c for c in operand):
        raise InvalidInput(f"where: {operator} takes a non-empty list of conditions, got {operand!r}")
    conditions = tuple(_parse(condition) for condition in operand)
    return All(conditions) if operator == "$and" else Some(conditions)


def _field(field: str, operand: Any) -> Condition:
    if not field:
        raise InvalidInput("where: a field's name is empty")
    if not isinstance(operand, Mapping) or not any(key.startswith("$") for key in operand):
        return Test(field, "$eq", operand)
    return _all([_operator(field, operator, value) for operator, value in operand.items()])


def _operator(field: str, operator: str, operand: Any) -> Condition:
    if operator not in FIELD_OPERATORS:
        raise InvalidInput(
            f"where: unknown operator {operator!r} on field {field!r}; there are {', '.join(FIELD_OPERATORS)}"
        )
    if operator == "$not":
        if not isinstance(operand, Mapping) or not any(key.startswith("$") for key in operand):
            raise InvalidInput(f"where: $not on field {field!r} takes operators such as {{'$gt': 3}}, got {operand!r}")
        return Not(_field(field, operand))
    _check_operand(field, operator, operand)
    match operator:
        case "$ne":
            return Not(Test(field, "$eq", operand))
        case "$nin":
            return Not(Test(field, "$in", tuple(operand)))
        case "$in":
            return Test(field, "$in", tuple(operand))
        case _:
            return Test(field, operator, operand)


def _check_operand(field: str, operator: str, operand: Any) -> None:
    wanted = ""
    if operator in ("$in", "$nin") and not isinstance(operand, list):
        wanted = "a list"
    elif operator == "$exists" and not isinstance(operand, bool):
        wanted = "true or false"
    elif operator in _ORDERINGS and kind(operand) not in ("number", "string"):
        wanted = "a number or a string"
    if wanted:
        raise InvalidInput(f"where: {operator} on field {field!r} takes {wanted}, got {operand!r} ({kind(operand)})")


def look_up(metadata: Mapping[str, JSON], field: str) -> Value:
    """Return the value of a field, a key or a dotted path; `MISSING` if there is none.

    >>> look_up({"author": {"name": "Ann"}}, "author.name")
    'Ann'
    """
    if field in metadata:
        return metadata[field]
    if "." not in field:
        return MISSING
    value: Value = dict(metadata)
    for key in field.split("."):
        if not isinstance(value, dict) or key not in value:
            return MISSING
        value = value[key]
    return value


def kind(value: object) -> str:
    """Return the JSON kind of a value: only values of one kind compare.

    >>> kind(True), kind(1), kind(1.5)
    ('boolean', 'number', 'number')
    """
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list() | tuple():
            return "array"
        case Mapping():
            return "object"
        case _:
            return "missing"


def equal(value: Value, operand: JSON) -> bool:
    """Return whether two JSON values are equal and of one kind, at every depth; a missing field equals null."""
    if value is MISSING:
        return operand is None
    if kind(value) != kind(operand):
        return False
    if isinstance(value, list) and isinstance(operand, list):
        return len(value) == len(operand) and all(map(equal, value, operand))
    if isinstance(value, dict) and isinstance(operand, dict):
        return value.keys() == operand.keys() and all(equal(value[key], operand[key]) for key in value)
    return value == operand
