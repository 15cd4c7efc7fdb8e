"""`data.tests`: named, whole, in the tokens and the view of the run, and refused early if they cannot be."""

import json

import numpy as np
import pytest

from transformer_jax.data import load, problems
from transformer_jax.data.named_tests import parse_tests
from transformer_jax.data.tokenizers.base import EOS
from transformer_jax.errors import UserError

COPY = "copy(train=(1, 5), examples=203, held_out=21)"
TESTS = "2x: copy(test=(6, 10), examples=1, held_out=33); 4x: reverse(test=(11, 20), examples=1, held_out=17)"


def test_names_and_corpora_are_read():
    assert parse_tests(" ") == {}
    assert parse_tests(TESTS)["2x"] == "copy(test=(6, 10), examples=1, held_out=33)"
    assert parse_tests("a: text(path='C:/x;y.txt');b:sort") == {"a": "text(path='C:/x;y.txt')", "b": "sort"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("copy", r"data\.tests: cannot read 'copy': write name: corpus"),
        ("2x: copy; ", "cannot read ''"),
        ("2x: ", "cannot read '2x:'"),
        ("2X: copy", "the name '2X' in '2X: copy' is not accepted: give small letters, digits and _"),
        ("valid: copy", "none of train, valid, test"),
        ("2x: copy; 2x: sort", "the name '2x' is given twice"),
        ("2x: copi", r"data\.tests, '2x': unknown corpus 'copi' \(did you mean 'copy'\?\)"),
        ("2x: copy(test=(3, 2))", r"data\.tests, '2x': .*test=\(3, 2\): give \(least, greatest\)"),
        ("2x: web", r"data\.tests, '2x': 'web' gives documents, but data\.corpus gives pairs"),
        ("2x: copy; 4x: copy(test='a')", r"data\.tests, '4x': .*not accepted; give tuple"),
    ],
)
def test_what_is_wrong_is_told(section, text, message):
    with pytest.raises(UserError, match=message):
        load(section(corpus=COPY, tests=text), seed=0)
    assert len(problems(section(corpus=COPY, tests=text))) == 1


def test_what_cannot_be_drawn_is_told_before_training(section):
    with pytest.raises(UserError, match=r"data\.tests, '2x': .*too few different examples"):
        load(section(corpus=COPY, tests="2x: copy(symbols=2, train=(1, 1), test=(2, 2))"), seed=0)


@pytest.mark.parametrize("view", ["prompt_answer", "pairs"])
@pytest.mark.parametrize("context", [1, 3])
def test_rows_hold_every_example_whole(section, view, context):
    data = load(section(corpus=COPY, tests=TESTS, view=view, length=32), seed=0, context=context)
    assert list(data.tests) == ["2x", "4x"]
    for name, greatest, held in (("2x", 10, 33), ("4x", 20, 17)):
        test = data.tests[name]
        assert test.tokenizer is data.tokenizer
        batches = list(test.eval_batches("test"))
        examples = test.examples("test")
        rows = test.rows("test")
        assert len(examples) == len(rows) == held and rows.dropped == 0
        longest = max(len(source) for source, _ in examples)
        assert longest == greatest
        needed = longest + 1 if view == "pairs" else 2 * longest + 1
        width = rows.fields["tokens"].shape[1]
        assert rows.positions == needed and needed <= width < needed + 8 * context and width % (8 * context) == 0
        answers = [answer for batch in batches for answer in _answers(batch, test.tokenizer)]
        assert answers[:held] == [target for _, target in examples]
        assert [batch.tokens_BL.shape[0] for batch in batches] == [4] * -(-held // 4)
        counts = json.loads(json.dumps(data.report))["tests"][name]
        assert (counts["examples"], counts["rows"], counts["dropped"]) == (held, held, 0)
    assert {"tests.2x_sha256", "tests.4x_sha256"} <= data.identity.keys()


def _answers(batch, tokenizer):
    for targets_L, weights_L in zip(batch.targets_BL, batch.weights_BL, strict=True):
        ids = targets_L[weights_L > 0]
        assert not len(ids) or ids[-1] == EOS
        yield tokenizer.decode(ids[:-1])


def test_documents_are_not_cut(section, tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text("\n".join(json.dumps({"text": "ab" * n}) for n in range(1, 60)))
    spec = f"jsonl(path='{path}', field='text', held_out=0.2)"
    data = load(section(corpus="web(split='verse')", view="text", tests=f"own: {spec}"), seed=0)
    rows = data.tests["own"].rows("test")
    texts = data.tests["own"].examples("test")
    assert len(rows) == len(texts) and rows.positions == max(map(len, texts)) + 1
    np.testing.assert_array_equal(rows.fields["weights"].sum(1), [len(text) + 1 for text in texts])


def test_runs_without_tests_have_the_identity_that_they_had(section):
    assert set(load(section(corpus=COPY), seed=0).identity) == {"corpus_sha256", "tokenizer_sha256"}
