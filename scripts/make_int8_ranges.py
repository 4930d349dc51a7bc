"""Measure the ranges of the default model's int8 form, and write them where the package ships them.

Run it when `nearfield.encode.int8.ranges.VERSION` changes, and commit what it writes.
"""

from __future__ import annotations

from nearfield.encode import DEFAULT_ENCODER
from nearfield.encode.bert import BertEncoder
from nearfield.encode.int8.kept import SHIPPED
from nearfield.encode.int8.ranges import calibrate, write_ranges
from nearfield.encode.models import find_model


def main() -> None:
    """Write the file."""
    encoder = BertEncoder(find_model(DEFAULT_ENCODER), precision="float32")
    ranges = calibrate(encoder._settings, encoder._weights.tensors, encoder._tokens)
    SHIPPED.mkdir(exist_ok=True)
    file = SHIPPED / f"{encoder._weights.digest[:16]}-{encoder._tokenizer_digest[:16]}.json"
    write_ranges(file, ranges)
    print(f"{file}: {file.stat().st_size:,} bytes, {len(ranges)} inputs")


if __name__ == "__main__":
    main()
