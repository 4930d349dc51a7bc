import pytest

from nearfield.errors import InvalidInput
from nearfield.filters import FIELD_OPERATORS, canonical, parse

DOCUMENT = {
    "category": "beginner",
    "year": 2024,
    "price": 9.5,
    "free": True,
    "tags": ["python", "numpy", 3],
    "author": {"name": "Ann", "address": {"city": "Bonn"}},
    "note": None,
    "a.b": "literal",
    "a": {"b": "nested"},
}

HOLDS = [
    {"category": "beginner"},
    {"year": 2024.0},
    {"year": {"$eq": 2024}},
    {"year": {"$ne": 2023}},
    {"missing": {"$ne": 1}},
    {"year": {"$gt": 2023, "$lt": 2025}},
    {"year": {"$gte": 2024, "$lte": 2024}},
    {"category": {"$gt": "adept"}},
    {"year": {"$in": [1999, 2024]}},
    {"year": {"$nin": [1999]}},
    {"missing": {"$nin": [1]}},
    {"missing": {"$in": [None]}},
    {"missing": None},
    {"note": None},
    {"note": {"$exists": True}},
    {"missing": {"$exists": False}},
    {"tags": {"$contains": "numpy"}},
    {"tags": {"$contains": 3}},
    {"category": {"$contains": "gin"}},
    {"tags": ["python", "numpy", 3]},
    {"author.name": "Ann"},
    {"author.address.city": {"$in": ["Bonn"]}},
    {"author": {"name": "Ann", "address": {"city": "Bonn"}}},
    {"a.b": "literal"},
    {"year": {"$not": {"$gt": 2024}}},
    {"missing": {"$not": {"$gt": 2024}}},
    {"$not": {"year": 1999}},
    {"$and": [{"year": 2024}, {"free": True}]},
    {"$or": [{"year": 1}, {"free": True}]},
    {"$or": [{"$and": [{"year": 2024}, {"price": {"$lt": 10}}]}, {"year": 1}]},
    {},
]

FAILS = [
    {"category": "Beginner"},
    {"year": "2024"},
    {"free": 1},
    {"year": True},
    {"year": {"$ne": 2024}},
    {"year": {"$gt": 2024}},
    {"missing": {"$gt": 0}},
    {"note": {"$gt": 0}},
    {"missing": {"$contains": "x"}},
    {"note": {"$exists": False}},
    {"tags": "python"},
    {"tags": ["numpy", "python", 3]},
    {"tags": {"$contains": "num"}},
    {"tags": {"$contains": "3"}},
    {"author.name.first": "Ann"},
    {"a.b": "nested"},
    {"$and": [{"year": 2024}, {"free": False}]},
    {"$or": [{"year": 1}, {"free": False}]},
    {"$not": {"year": 2024}},
    {"year": 2024, "free": False},
]


@pytest.mark.parametrize("where", HOLDS, ids=canonical)
def test_conditions_that_hold(where):
    condition = parse(where)
    assert condition is None or condition.matches(DOCUMENT) is True


@pytest.mark.parametrize("where", FAILS, ids=canonical)
def test_conditions_that_do_not_hold(where):
    assert parse(where).matches(DOCUMENT) is False


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"year": {"$gte": 1, "$regex": "x"}}, r"unknown operator '\$regex' on field 'year'; there are \$eq, "),
        ({"$nor": []}, r"unknown operator '\$nor'; outside a field there are \$and, \$or, \$not"),
        ({"year": {"$gte": 1, "plain": 2}}, "unknown operator 'plain'"),
        ({"year": {"$in": 3}}, r"\$in on field 'year' takes a list, got 3"),
        ({"year": {"$exists": 1}}, r"\$exists on field 'year' takes true or false"),
        ({"year": {"$gt": None}}, r"\$gt on field 'year' takes a number or a string"),
        ({"year": {"$lt": [1]}}, "takes a number or a string"),
        ({"year": {"$lt": True}}, r"got True \(boolean\)"),
        ({"$and": []}, r"\$and takes a non-empty list"),
        ({"$or": [{}]}, r"\$or takes a non-empty list"),
        ({"$not": {}}, r"\$not takes one condition"),
        ({"year": {"$not": 3}}, r"\$not on field 'year' takes operators"),
        ({"": 1}, "a field's name is empty"),
        ("year", "where must be a mapping"),
        ({1: 2}, "keys of metadata must be str"),
        ({"year": {"$gt": float("nan")}}, "must be a JSON value, got nan"),
    ],
)
def test_what_is_no_condition_is_refused(where, message):
    with pytest.raises(InvalidInput, match=message):
        parse(where)


@pytest.mark.parametrize(
    "where",
    [
        {"year": {"$gte": "2024"}},
        {"category": {"$lt": 3}},
        {"free": {"$gt": 0}},
        {"tags": {"$gt": 1}},
        {"author": {"$lt": "x"}},
        {"year": {"$contains": 2}},
        {"category": {"$contains": 3}},
        {"free": {"$contains": True}},
    ],
    ids=canonical,
)
def test_kinds_that_cannot_compare_are_an_error_and_never_an_empty_answer(where):
    with pytest.raises(InvalidInput, match="can't compare field"):
        parse(where).matches(DOCUMENT)


def test_every_operator_is_described_in_the_module():
    from nearfield import filters

    assert all(operator in filters.__doc__ for operator in FIELD_OPERATORS)
