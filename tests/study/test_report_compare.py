"""Two studies that were not planned together."""

import pytest
from scipy import stats
from study.report_fakes import METRIC, noise, variants, write_study

from transformer_jax.errors import UserError
from transformer_jax.study.cross import NOT_COMPARABLE, PAIRED, WELCH, compare_studies
from transformer_jax.study.report.side_by_side import comparison_text, headline, write_comparison

SEEDS = (0, 1, 2, 3, 4, 5)


def first(label, seed):
    return 2.0 + noise(label, seed)


def second(label, seed):
    return first(label, seed) + noise(label + "'", seed, 0.002) - (1.0 if label == "alibi" else 0.0)


def both(tmp_path, b_value=second, b_labels=("rope", "alibi"), a=None, b=None):
    one = write_study(tmp_path / "a", variants("rope", "alibi"), first, **({"seeds": SEEDS} | (a or {})))
    other = write_study(tmp_path / "b", variants(*b_labels), b_value, **({"seeds": SEEDS} | (b or {})))
    return compare_studies(one, other)


def data(corpus="c", tokenizer="t", **more):
    return {"data": {"corpus_sha256": corpus * 64, "tokenizer_sha256": tokenizer * 64}} | more


def test_equal_seeds_and_data_are_paired_and_matched_by_config(tmp_path):
    found = both(tmp_path)
    assert [(match.a, match.by, match.test.method) for match in found.matches] == [
        ("rope", "config", PAIRED),
        ("alibi", "config", PAIRED),
    ]
    alibi = found.matches[1]
    differences = [second("alibi", seed) - first("alibi", seed) for seed in SEEDS]
    assert alibi.verdict == "better"
    assert alibi.test.p == pytest.approx(stats.ttest_1samp(differences, 0).pvalue)
    assert alibi.test.p_corrected == pytest.approx(2 * alibi.test.p)
    text = comparison_text(found)
    assert "matched by config" in text and "prove nothing" in text and "data" in text.split("Equal in both: ")[1]


@pytest.mark.parametrize(
    "change", [{"seeds": (7, 8, 9, 10)}, {"seeds": (4, 5, 6, 7)}, {"base": {"data.batch_size": 8}}]
)
def test_other_seeds_or_batches_are_not_paired(tmp_path, change):
    found = both(tmp_path, b=change)
    alibi = found.matches[1]
    seeds = change.get("seeds", SEEDS)
    x, y = [second("alibi", s) for s in seeds], [first("alibi", s) for s in SEEDS]
    assert alibi.test.method == WELCH and alibi.verdict == "better"
    assert alibi.test.p == pytest.approx(stats.ttest_ind(x, y, equal_var=False).pvalue)
    assert any(reason.startswith("not paired: ") for reason in alibi.reasons)


def test_a_variant_with_another_label_is_found_by_its_config(tmp_path):
    made = [("rope", {"model.position": "rope"}), ("slopes", {"model.position": "alibi"})]
    one = write_study(tmp_path / "a", variants("rope", "alibi", "none"), first)
    other = write_study(tmp_path / "b", made, first)
    found = compare_studies(one, other)
    assert [(m.a, m.b, m.by) for m in found.matches] == [("rope", "rope", "config"), ("alibi", "slopes", "config")]
    assert found.only == (("none",), ())
    assert [match.verdict for match in found.matches] == ["not distinguishable"] * 2
    assert "only in A: none" in comparison_text(found) and "identical in every seed" in comparison_text(found)


def test_what_differs_between_configs_is_listed(tmp_path):
    found = both(tmp_path, b={"base": {"train.steps": 400}})
    assert {match.by for match in found.matches} == {"label"} and found.matches[0].test.method == PAIRED
    assert found.differences["alibi", "alibi"] == ("train.steps: 200 -> 400",)
    text = comparison_text(found)
    assert "all: train.steps: 200 -> 400 (A -> B)" in text and "all: one config key differs: train.steps" in text
    assert "A trains on 409,600 tokens at most, B on 819,200" in text
    assert next(fact for fact in found.facts if fact.what == "updates of the base config").status == "differs"


@pytest.mark.parametrize(
    ("manifest", "reason"),
    [
        (data(corpus="d"), "was measured on different data"),
        ({"data": {}}, "it is not recorded on which data"),
    ],
)
def test_other_data_forbid_a_comparison(tmp_path, manifest, reason):
    found = both(tmp_path, b={"manifest": manifest})
    assert {match.verdict for match in found.matches} == {NOT_COMPARABLE}
    assert all(match.test is None and reason in match.reasons[0] for match in found.matches)
    assert f"2 {NOT_COMPARABLE}" in headline(found) and reason in comparison_text(found)
    assert next(fact for fact in found.facts if fact.what == "data").status == NOT_COMPARABLE


def test_other_tokenizers_forbid_what_counts_tokens_and_nothing_else(tmp_path):
    def metrics(label, seed):
        return {"valid/loss": second(label, seed)}

    also = {"also": [{"metric": "valid/loss", "direction": "min", "margin": None}]}
    one = write_study(tmp_path / "a", variants("rope", "alibi"), first, metrics=metrics, declared=also)
    other = write_study(
        tmp_path / "b", variants("rope", "alibi"), second, metrics=metrics, manifest=data(tokenizer="u")
    )
    found = compare_studies(one, other)
    by_metric = {match.metric: match for match in found.matches if match.a == "alibi"}
    assert by_metric["valid/loss"].verdict == NOT_COMPARABLE
    assert by_metric["valid/loss"].reasons == ("the tokenizers differ, and loss counts tokens",)
    assert by_metric[METRIC].verdict == "better" and by_metric[METRIC].test.method == WELCH


def test_versions_and_devices_are_told(tmp_path):
    found = both(tmp_path, b={"manifest": {"versions": {"jax": "0.11.0"}, "devices": ["NVIDIA H200"]}})
    text = comparison_text(found)
    assert "the versions of the software differ" in text and "the devices differ" in text
    facts = {fact.what: (fact.a, fact.b, fact.status) for fact in found.facts}
    assert facts["version of jax"] == ("0.10.2", "0.11.0", "differs")


def test_directions_that_disagree_forbid_a_verdict(tmp_path):
    found = both(tmp_path, b={"declared": {"direction": "max"}})
    assert {match.verdict for match in found.matches} == {NOT_COMPARABLE}


def test_the_stricter_alpha_holds_and_higher_can_be_better(tmp_path):
    up = {"declared": {"direction": "max", "alpha": 0.01}}
    found = both(tmp_path, a={"declared": {"direction": "max"}}, b=up)
    assert found.alpha == 0.01 and found.matches[1].verdict == "worse" and "99 % intervals" in comparison_text(found)


def test_too_little_is_not_tested(tmp_path):
    found = both(tmp_path, b={"seeds": (9,)})
    assert {match.verdict for match in found.matches} == {"not tested"}
    assert "one run only on a side" in comparison_text(found)
    none = both(tmp_path / "n", b_value=lambda label, seed: None if label == "alibi" else second(label, seed))
    assert none.matches[1].verdict == "not tested" and "6 of 6 runs of B gave no value" in none.matches[1].reasons
    constant = both(tmp_path / "c", b_value=lambda label, seed: first(label, seed) + 1.0)
    assert {match.verdict for match in constant.matches} == {"not tested"}


def test_the_file_has_it_all(tmp_path):
    path = write_comparison(both(tmp_path, b={"base": {"train.steps": 400}}), tmp_path / "compare.md")
    text = path.read_text()
    assert text.startswith("# Two studies compared") and "train.steps: 200 -&#62; 400" in text
    assert "| alibi | alibi | label |" in text


def test_nothing_in_common_is_an_error(tmp_path):
    with pytest.raises(UserError, match="no variant of"):
        both(tmp_path, b_labels=("x", "y"))
    with pytest.raises(UserError, match="none of the 8 runs has finished"):
        compare_studies(
            tmp_path / "a", write_study(tmp_path / "e", variants("rope", "alibi"), lambda label, seed: None)
        )
