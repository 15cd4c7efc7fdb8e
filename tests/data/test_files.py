"""Files of the user: what is read, and one clear error for each way in which a file is unusable."""

import json
import re

import pytest

from transformer_jax.data import load
from transformer_jax.data.corpora.base import SPLITS, corpora
from transformer_jax.errors import UserError
from transformer_jax.registry import format_spec


def spec(name, path, **arguments):
    return format_spec(name, path=str(path), **arguments)


def lines(n):
    return [json.dumps({"text": f"document {i}", "en": f"source {i}", "de": f"Ziel {i}"}) for i in range(n)]


def parts(corpus):
    return [example for split in SPLITS for example in corpus.part(split)]


def test_text_splits_at_the_separator(tmp_path):
    (tmp_path / "a.txt").write_bytes("\r\n\r\n".join(f"Dokument {i}\r\nzwei ü" for i in range(40)).encode())
    corpus = corpora.build(spec("text", tmp_path / "a.txt", separator="\n\n", held_out=0.1))
    assert sorted(parts(corpus)) == sorted(f"Dokument {i}\nzwei ü" for i in range(40))
    assert len(corpus.part("valid")) == len(corpus.part("test")) == 4


def test_one_document_is_cut_and_a_directory_is_one_document_a_file(tmp_path):
    for name in "abcd":
        (tmp_path / f"{name}.txt").write_text(f"{name} " * 500)
    one = corpora.build(spec("text", tmp_path / "a.txt"))
    assert "".join(parts(one)) == "a " * 500
    assert len(parts(corpora.build(spec("text", tmp_path)))) == 4


def test_jsonl_gives_documents_or_pairs(tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_text("\n".join(lines(30)) + "\n\n")
    documents, pairs = corpora.build(spec("jsonl", file)), corpora.build(spec("jsonl", file, source="en", target="de"))
    assert documents.kind == "documents" and pairs.kind == "pairs"
    assert len(parts(documents)) == 30
    assert sorted(parts(pairs)) == sorted((f"source {i}", f"Ziel {i}") for i in range(30))


def test_broken_lines_are_skipped_counted_and_named(tmp_path, caplog):
    file = tmp_path / "a.jsonl"
    broken = ["{broken", '{"other": 1}', '{"text": 3}', '{"text": "\\ud800"}']
    file.write_text("\n".join([*lines(5), *broken, *lines(3), "[1]"]))
    corpus = corpora.build(spec("jsonl", file))
    bad = corpus.splits.notes["bad_lines"]
    assert [line.split(":")[1] for line in bad] == ["6", "7", "8", "9", "13"]
    assert "not JSON" in bad[0] and "no key 'text'" in bad[1] and "is no text: 3" in bad[2] and "surrogate" in bad[3]
    assert len(parts(corpus)) == 8
    assert sum("broken line" in record.message for record in caplog.records) == 5
    with pytest.raises(UserError, match=r"more than max_bad=2 broken lines.*a\.jsonl:6: not JSON"):
        corpora.build(spec("jsonl", file, max_bad=2)).part("train")


BROKEN = {
    "NUL": (bytes(40), "a NUL byte at column 1"),
    "a NUL in a record": (b'{"text": "a\0b"}', "a NUL byte at column 12"),
    "UTF-16": ('{"text": "a"}'.encode("utf-16"), "not UTF-8 at byte 0|a NUL byte"),
    "latin": (b'{"text": "T\xfcr"}', r"not UTF-8 at byte 11 \(0xfc\)"),
    "giant": (b'{"text": "' + b"x" * 2**24 + b'"}', "16,777,228 bytes, more than 16,777,216"),
    "deep": (b"[" * 200_000, "nested too deeply"),
    "long number": (b'{"text": ' + b"9" * 5000 + b"}", "limit|is no text"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_bytes_that_are_no_record_are_skipped_and_named(tmp_path, kind):
    broken, reason = BROKEN[kind]
    file = tmp_path / "a.jsonl"
    file.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines(6)).encode() + b"\n" + broken + b"\n" + lines(1)[0].encode())
    corpus = corpora.build(spec("jsonl", file))
    (bad,) = corpus.splits.notes["bad_lines"]
    place, _, told = bad.partition(": ")
    assert place == "a.jsonl:7" and re.search(reason, told), bad
    assert len(parts(corpus)) == 7
    with pytest.raises(UserError, match=r"more than max_bad=0 broken lines.*a\.jsonl:7"):
        corpora.build(spec("jsonl", file, max_bad=0)).part("train")


def test_a_text_with_bytes_that_are_none_is_refused_with_the_line(tmp_path):
    file = tmp_path / "a.txt"
    for content, message in [(b"one\ntwo\n\0\0\0", "a NUL byte at 8, a.txt:3"), (b"one\n\xff", "at byte 4 .*a.txt:2")]:
        file.write_bytes(content)
        with pytest.raises(UserError, match=message):
            corpora.build(spec("text", file)).part("train")


def test_tsv_gives_pairs_by_the_same_rule(tmp_path):
    file = tmp_path / "a.tsv"
    file.write_text("\n".join([*(f"s{i}\tt{i}" for i in range(9)), "no tab", "a\tb\tc", "x\t "]))
    corpus = corpora.build(spec("tsv", file))
    assert sorted(parts(corpus)) == [(f"s{i}", f"t{i}") for i in range(9)]
    assert [line.split(":")[1] for line in corpus.splits.notes["bad_lines"]] == ["10", "11", "12"]
    with pytest.raises(UserError, match="more than max_bad=0"):
        corpora.build(spec("tsv", file, max_bad=0)).part("train")


def test_pairs_with_one_source_stay_together(tmp_path):
    file = tmp_path / "a.tsv"
    file.write_text("\n".join(f"s{i % 20}\tt{i}" for i in range(60)))
    corpus = corpora.build(spec("tsv", file, held_out=0.2))
    train, valid, test = ({source for source, _ in corpus.part(split)} for split in SPLITS)
    assert not train & valid and not train & test and not valid & test


@pytest.mark.parametrize("name", ["text", "jsonl", "tsv"])
def test_unusable_files_are_told(name, tmp_path):
    good, empty, latin = tmp_path / "good.txt", tmp_path / "empty.txt", tmp_path / "latin.txt"
    good.write_text("x")
    empty.write_text(" \n")
    latin.write_bytes("Tür\n".encode("latin-1"))

    def told(path, message):
        with pytest.raises(UserError, match=message):
            corpora.build(spec(name, path)).part("train")

    told("", f"{name}.*path='FILE'")
    told(tmp_path / "goood.txt", r"no such file \(did you mean 'good.txt'\?\)")
    told(tmp_path / "no" / "such", "no such file")
    told(empty, "the file is empty")
    told(latin, "not UTF-8 at byte 1 .0xfc.")
    with pytest.raises(UserError, match=r"held_out=0\.6"):
        corpora.build(spec(name, good, held_out=0.6)).part("train")


def test_directories_and_fields_that_do_not_fit_are_told(tmp_path):
    for name in ("jsonl", "tsv"):
        with pytest.raises(UserError, match="is a directory"):
            corpora.build(spec(name, tmp_path)).part("train")
    with pytest.raises(UserError, match=r"holds no \.txt file"):
        corpora.build(spec("text", tmp_path)).part("train")
    (tmp_path / "a.jsonl").write_text("\n".join(lines(5)))
    with pytest.raises(UserError, match=r"give either field.* or both source and target"):
        corpora.build(spec("jsonl", tmp_path / "a.jsonl", source="en")).check()
    (tmp_path / "a.tsv").write_text("a\tb\nc\td")
    with pytest.raises(UserError, match="2 distinct pairs cannot be split"):
        corpora.build(spec("tsv", tmp_path / "a.tsv")).part("train")
    (tmp_path / "word.txt").write_text("word")
    with pytest.raises(UserError, match="no example in the split"):
        corpora.build(spec("text", tmp_path / "word.txt")).part("train")


def test_a_file_that_has_changed_is_read_again(tmp_path, section):
    file = tmp_path / "a.txt"
    file.write_text("one " * 100)
    config = section(corpus=spec("text", file), view="text")
    before = load(config, 0).identity
    assert load(config, 0).identity == before
    file.write_text("three " * 100)
    assert load(config, 0).identity != before


@pytest.fixture
def saved(tmp_path):
    datasets = pytest.importorskip("datasets")
    records = [{"translation": {"de": f"Satz {i}", "en": f"sentence {i}" if i else ""}, "n": i} for i in range(12)]
    part = datasets.Dataset.from_list(records)
    datasets.disable_progress_bars()
    datasets.DatasetDict(train=part, validation=part, test=part).save_to_disk(str(tmp_path / "d"))
    return str(tmp_path / "d")


def test_huggingface_reads_nested_pairs_from_disk(saved):
    def build(**arguments):
        return corpora.build(format_spec("huggingface", path=saved, **arguments))

    corpus = build(source="translation.de", target="translation.en", limit=5)
    assert list(corpus.part("train")) == [(f"Satz {i}", f"sentence {i}") for i in range(1, 5)]
    assert len(corpus.part("test")) == 11 and corpus.splits.notes == {"empty": 3}
    held = build(field="translation.de", valid="", test="")
    assert len(parts(held)) == 12 and held.kind == "documents"
    for arguments, message in [
        (dict(field="translation.fr"), "no field 'fr'"),
        (dict(field="translations"), r"did you mean 'translation'"),
        (dict(field="n"), "is no text"),
        (dict(field="translation"), "is no text"),
        (dict(field="translation.de", valid="dev", test="test"), "it has train, validation, test"),
        (dict(source="translation.de"), "both source and target"),
        (dict(valid=""), "both valid and test"),
    ]:
        with pytest.raises(UserError, match=message):
            build(**arguments).part("train")


def test_huggingface_needs_its_library(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(UserError, match=r'pip install "transformer_jax\[hub\]"'):
        corpora.build("huggingface(path='x')").check()
    with pytest.raises(UserError, match="give the data set"):
        corpora.build("huggingface").check()
