"""Conformance suites for authors of engines and encoders: what nearfield's own tests run."""

from nearfield.testing.encoders import check_encoder
from nearfield.testing.engines import check_engine

__all__ = ["check_encoder", "check_engine"]
