"""The int8 form of a model: its arithmetic against NumPy, its vectors against float32's, and what is kept of it."""

import json
import os
import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nearfield.encode import bert, load_encoder, precision
from nearfield.encode.bert import BertEncoder
from nearfield.encode.int8 import kept, ranges
from nearfield.encode.int8.graph import MARGIN, int8_form
from nearfield.encode.int8.ranges import Ranges, calibrate, read_ranges, write_ranges
from nearfield.encode.int8.texts import texts
from nearfield.encode.models import DEFAULT_ENCODER, find_model
from nearfield.encode.openvino import import_openvino
from nearfield.encode.settings import read_settings
from nearfield.errors import InvalidInput

MODELS = Path(__file__).parent.parent / "formats" / "golden_vectors" / "models"
SENTENCES = [
    "How do I find the nearest neighbours of a vector?",
    "The parser raised an exception in line 12.",
    "Cells of the immune system attack the virus.",
    "A recipe for bread with three ingredients",
    "Qui a écrit ce livre ?",
    "tariffs on imported steel rose again " * 12,
    "",
]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "nearfield" / "int8"


def cosines(a, b):
    return (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


@pytest.fixture
def bulk(monkeypatch):
    """Calls of a few texts, as if they were many."""
    monkeypatch.setattr(bert, "FEW_TOKENS", 0)


def test_the_default_model_is_near_float32(bulk):
    exact = load_encoder(precision="float32").encode_documents(SENTENCES)
    rounded = load_encoder(precision="int8")
    found = cosines(rounded.encode_documents(SENTENCES), exact)
    assert found.min() > 0.985
    assert found.mean() > 0.995
    assert rounded.precision == "int8"
    assert rounded.fingerprint == load_encoder(precision="float32").fingerprint


def test_a_few_texts_are_not_rounded():
    exact = load_encoder(precision="float32").encode_documents(SENTENCES)
    rounded = load_encoder(precision="int8")
    assert cosines(rounded.encode_documents(SENTENCES), exact).min() > 0.9995
    many = [*SENTENCES, *texts()]
    assert cosines(rounded.encode_documents(many)[: len(SENTENCES)], exact).mean() < 0.9998
    assert cosines(rounded.encode_queries(many)[: len(SENTENCES)], exact).min() > 0.9995
    long = [SENTENCES[0] * 500]  # of which little more than a few sentences is encoded
    assert cosines(rounded.encode_documents(long), rounded.encode_queries(long)) > 0.9999


@pytest.mark.parametrize("folder", sorted(MODELS.glob("[!s]*")), ids=lambda folder: folder.name)  # not the static ones
def test_other_models_are_near_float32(folder, cache, bulk):
    exact = BertEncoder(folder, precision="float32").encode_documents(SENTENCES)
    rounded = BertEncoder(folder, precision="int8").encode_documents(SENTENCES)
    assert cosines(rounded, exact).mean() > 0.98  # of random weights, 16 channels wide
    assert len(list(cache.iterdir())) == 1


def test_a_product_is_that_of_the_rounded_input_and_the_rounded_weights():
    chance = np.random.default_rng(3)
    weight = chance.standard_normal((5, 8)).astype(np.float32) * np.geomspace(0.1, 3, 8, dtype=np.float32)
    bias = chance.standard_normal(5).astype(np.float32)
    values = (chance.standard_normal((40, 8)) * np.geomspace(30, 0.2, 8) + 2).astype(np.float32)
    name = "encoder.layer.0.attention.self.query"
    known = Ranges((name,), values.min(axis=0), values.max(axis=0), values.mean(axis=0), values.std(axis=0))
    settings = read_settings(find_model(DEFAULT_ENCODER))
    openvino = import_openvino()
    parameter = openvino.opset13.parameter([-1, 8], np.float32)
    tensors = {f"{name}.weight": weight, f"{name}.bias": bias}
    node = int8_form([known])(openvino.opset13, tensors, settings).linear(parameter, name, 5, 8)
    compiled = openvino.Core().compile_model(
        openvino.Model([node], [parameter], "product"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    found = compiled([values])[0]

    middle, half = (known.high + known.low) / 2, (known.high - known.low) / 2 * np.float32(MARGIN)
    scale = half**0.8 / np.abs(weight).max(axis=0) ** 0.2
    step = (half / scale).max() / 127
    rounded_input = np.rint((values - middle) / scale / step).clip(-128, 127) * step
    steps = np.abs(weight * scale).max(axis=1, keepdims=True) / 127
    rounded_weight = np.rint(weight * scale / steps) * steps
    left = (weight * scale - rounded_weight) @ ((known.mean - middle) / scale)
    expected = rounded_input @ rounded_weight.T + bias + weight @ middle + left
    np.testing.assert_allclose(found, expected, atol=step * np.abs(rounded_weight).max() * 1.01)  # one rounding more
    assert np.abs(found - expected).mean() < 1e-3
    exact = values @ weight.T + bias
    assert np.abs(found - exact).max() < 0.02 * np.abs(exact).max()


def product_of(values, weight, bias):
    name = "encoder.layer.0.output.dense"
    known = Ranges((name,), values.min(axis=0), values.max(axis=0), values.mean(axis=0), values.std(axis=0))
    openvino = import_openvino()
    parameter = openvino.opset13.parameter([-1, values.shape[1]], np.float32)
    settings = read_settings(find_model(DEFAULT_ENCODER))
    graph = int8_form([known])(openvino.opset13, {f"{name}.weight": weight, f"{name}.bias": bias}, settings)
    node = graph.linear(parameter, name, *weight.shape)
    model = openvino.Model([node], [parameter], "product")
    return openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([values])[0]


def test_an_input_that_eight_bits_are_too_coarse_for_stays_as_it_is():
    chance = np.random.default_rng(1)
    weight, bias = chance.standard_normal((4, 6)).astype(np.float32), np.ones(4, np.float32)
    values = chance.standard_normal((4000, 6)).astype(np.float32)
    exact = values @ weight.T + bias
    assert np.abs(product_of(values, weight, bias) - exact).max() > 1e-3
    values[7] = 1000  # one value in each channel far from all others, which would be rounded to none or one step
    exact = values @ weight.T + bias
    np.testing.assert_allclose(product_of(values, weight, bias), exact, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_what_the_package_ships_is_what_is_measured():
    encoder = BertEncoder(find_model(DEFAULT_ENCODER), precision="float32")
    measured = calibrate(encoder._settings, encoder._weights.tensors, encoder._tokens)
    (file,) = kept.SHIPPED.iterdir()
    shipped = read_ranges(file)
    assert file.name == f"{encoder._weights.digest[:16]}-{encoder._tokenizer_digest[:16]}.json"
    assert [one.names for one in shipped] == [one.names for one in measured]
    assert len(shipped) == 24
    assert len(shipped[0].names) == 3
    for one, other in zip(shipped, measured, strict=True):
        for part in ("low", "high", "mean", "deviation"):
            np.testing.assert_allclose(getattr(one, part), getattr(other, part), atol=0.02, rtol=0.01)


def test_texts_for_calibration_differ():
    assert len(set(texts())) == len(texts()) > 70


@pytest.fixture
def some():
    chance = np.random.default_rng(0)
    low, mean = -chance.random((2, 6)).astype(np.float32)
    return [Ranges(("a", "b"), low, -low, mean / 4, -mean), Ranges(("c",), low - 1, -low, mean, -low)]


def test_ranges_are_read_as_they_were_written(tmp_path, some):
    write_ranges(tmp_path / "ranges.json", some)
    for one, other in zip(read_ranges(tmp_path / "ranges.json"), some, strict=True):
        assert one.names == other.names
        np.testing.assert_allclose(one.low, other.low, rtol=1e-3)
        np.testing.assert_allclose(one.mean, other.mean, rtol=1e-3)


def test_ranges_are_measured_once(cache, some):
    measured = []
    for _ in range(3):
        found = kept.ranges_of("w" * 64, "t" * 64, lambda: measured.append(1) or some)
        assert [one.names for one in found] == [("a", "b"), ("c",)]
    assert measured == [1]
    kept.ranges_of("w" * 64, "u" * 64, lambda: measured.append(2) or some)
    assert measured == [1, 2]


@pytest.mark.parametrize("damage", ["truncated", "flipped", "no JSON", "another version", "a folder"])
def test_a_kept_file_that_is_of_no_use_is_made_again(cache, some, damage, monkeypatch):
    kept.ranges_of("w" * 64, "t" * 64, lambda: some)
    (file,) = cache.iterdir()
    content = file.read_text()
    if damage == "truncated":
        file.write_text(content[:-40])
    elif damage == "flipped":
        file.write_text(content.replace("c", "d", 1))
    elif damage == "no JSON":
        file.write_text("ranges")
    elif damage == "another version":
        ranges.write_json(file, {"version": 0, "groups": []})
    else:
        file.unlink()
        file.mkdir()
    measured = []
    found = kept.ranges_of("w" * 64, "t" * 64, lambda: measured.append(1) or some)
    assert (len(found), measured) == (2, [1])
    if damage != "a folder":
        assert json.loads(file.read_text()) == json.loads(content)


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path, monkeypatch, some):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))  # below which nothing can be made, by root neither
    assert kept.ranges_of("w" * 64, "t" * 64, lambda: some) is some


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_the_right_to_write_is_done_without(cache, some):
    cache.mkdir(parents=True)
    cache.chmod(stat.S_IRUSR | stat.S_IXUSR)
    assert kept.ranges_of("w" * 64, "t" * 64, lambda: some) is some
    cache.chmod(stat.S_IRWXU)


def test_auto_is_int8_only_for_measured_weights_on_a_processor_for_it(monkeypatch):
    known = next(iter(precision.MEASURED))
    monkeypatch.setattr(precision, "has_bfloat16", lambda: True)
    monkeypatch.setattr(precision, "multiplies_bytes", lambda: True)
    assert precision.choose_precision("auto", known) == "int8"
    assert precision.choose_precision("auto", "0" * 64) == "bfloat16"
    assert precision.choose_precision("int8", "0" * 64) == "int8"
    assert precision.choose_precision("float32", known) == "float32"
    monkeypatch.setattr(precision, "multiplies_bytes", lambda: False)
    assert precision.choose_precision("auto", known) == "bfloat16"
    monkeypatch.setattr(precision, "has_bfloat16", lambda: False)
    assert precision.choose_precision("auto", known) == "float32"
    with pytest.raises(InvalidInput, match="needs a processor that computes in it"):
        precision.choose_precision("bfloat16", known)


def test_a_user_without_a_home_has_the_shipped_ranges_and_measures_others(monkeypatch, some):
    def homeless(self):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "expanduser", homeless)
    (file,) = kept.SHIPPED.iterdir()
    weights, tokenizer = file.stem.split("-")
    assert len(kept.ranges_of(weights, tokenizer, lambda: pytest.fail("they are shipped"))) == 24
    assert kept.ranges_of("w" * 64, "t" * 64, lambda: some) is some


def test_large_values_are_kept_and_what_is_no_number_is_not_taken(tmp_path, some):
    large = Ranges(("a",), *(np.full(3, value, np.float32) for value in (-1e5, 3e38, 1.0, 2.0)))
    write_ranges(tmp_path / "ranges.json", [large])
    assert read_ranges(tmp_path / "ranges.json")[0].high.tolist() == large.high.tolist()
    write_ranges(tmp_path / "ranges.json", [replace(large, high=np.full(3, np.inf, np.float32))])
    with pytest.raises(ValueError, match="no numbers"):
        read_ranges(tmp_path / "ranges.json")
    write_ranges(tmp_path / "ranges.json", [replace(large, mean=large.mean[:2])])
    with pytest.raises(ValueError, match="different lengths"):
        read_ranges(tmp_path / "ranges.json")
