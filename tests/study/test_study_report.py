import csv
import html
import re
import sys
from html.parser import HTMLParser

import pytest
from study.study_fakes import METRIC, FakeTrainer, accept, study

from transformer_jax.errors import UserError
from transformer_jax.study import Goal, chain, param, point, run_study, terminal_table, write_report

EVIL = "<script>alert('x')</script> | `b` & <img src=//x>"


def finished(directory, made, trainer):
    run_study(made, directory, trainer=trainer, validator=accept, command="transformer-jax study run X.py")
    return write_report(directory)


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """A study with a planted difference, a diverged run, a failed one, and a label that is out for mischief."""
    grid = chain(
        point("baseline"),
        param("model.heads", [1, 2]),
        point(EVIL, {"model.heads": 8, "model.position": EVIL}),
    )
    broken = {(2, 1): "diverged", (2, 2): ValueError("<b>bad</b>")}
    trainer = FakeTrainer({1: 0.5, 8: -0.001}, broken)
    return finished(tmp_path_factory.mktemp("study"), study(grid), trainer)


def read(report, name):
    return (report.directory / "report" / name).read_text()


def test_verdicts(told):
    verdicts = {row.label: (row.verdict, row.lost) for row in told.rows}
    assert verdicts == {
        "baseline": ("baseline", ""),
        "heads=1": ("worse", ""),
        "heads=2": ("not tested", "1 of 3 diverged, 1 of 3 failed"),
        EVIL: ("not distinguishable", ""),
    }
    assert told.rows[1].parameters == 1001
    assert told.rows[1].speed_ratio == pytest.approx(0.25)


def test_tables(told):
    runs = list(csv.DictReader(read(told, "results.csv").splitlines()))
    assert len(runs) == 12 and [r["status"] for r in runs].count("finished") == 10
    assert float(runs[0][METRIC]) > 0 and runs[0]["directory"].startswith("runs/baseline-s0-")
    rows = list(csv.DictReader(read(told, "comparisons.csv").splitlines()))
    assert [r["variant"] for r in rows] == ["baseline", "heads=1", "heads=2", EVIL]
    assert rows[2]["lost"] == "1 of 3 diverged, 1 of 3 failed" and rows[2]["p_holm"] == ""


def test_every_text_says_what_was_lost_and_declared(told):
    for text in (read(told, "report.md"), read(told, "index.html"), terminal_table(told)):
        assert "1 of 3 diverged, 1 of 3 failed" in text
        assert "10 of 12 runs finished; 1 diverged, 1 failed." in text
        assert METRIC in text and "lower is better" in text
        assert "Does the number of heads matter?" in text
    for text in (read(told, "report.md"), read(told, "index.html")):
        assert "transformer-jax study run X.py" in text and "jax 0.10.2" in text
        assert "heads=1 is worse than baseline" in text
        assert "train.steps" in text and "model.heads" in text
        assert "Holm-corrected" in text


def test_pictures_are_linked_and_written(told):
    linked = re.findall(r"\((\w+\.png)\)", read(told, "report.md"))
    assert {"differences.png", "cost_size.png", "gap.png", "curve.png", "train.png"} <= set(linked)
    for name in linked:
        assert (told.directory / "report" / name).read_bytes().startswith(b"\x89PNG")


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.ids = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        self.ids += [value for key, value in attrs if key == "id"]


def test_the_page_loads_nothing_and_runs_one_script(told):
    text = read(told, "index.html")
    page = Page(text)
    assert not {"img", "link", "iframe", "object"} & set(page.tags) and page.tags.count("script") == 1
    assert not re.search(r"https?:", text)
    assert not [a for a in page.attributes if a[0] in ("src", "srcset") or a[0].startswith("on")]
    assert all(value.startswith("#") for key, value in page.attributes if key.endswith("href"))
    assert page.tags.count("svg") >= 5
    assert len(page.ids) == len(set(page.ids))


def test_what_comes_from_configs_is_escaped(told):
    text = read(told, "index.html")
    assert text.count("<script") == 1 and "<img" not in text and "<b>bad" not in text
    assert "&lt;script&gt;alert(" in text and "&lt;b&gt;bad&lt;/b&gt;" in text
    assert "<script" not in read(told, "report.md")
    rows = [
        line for line in read(told, "report.md").splitlines() if line.startswith("|") and " &#60;script&#62;" in line
    ]
    assert len(rows) >= 2


def test_twelve_variants_with_long_labels_all_appear_whole(tmp_path):
    grid = chain(
        point("baseline"),
        *(point(f"variant {i} with a label of sixty characters, no less than so"[:60], {"model.layers": i + 5})
          for i in range(11)),
    )  # fmt: skip
    page = read(finished(tmp_path, study(grid, seeds=2), FakeTrainer()), "index.html")
    for label in grid.labels[1:]:
        assert re.search(rf"<text[^>]*>\d+  {re.escape(label)}</text>", page)


def test_far_variants_get_a_closer_picture(tmp_path):
    finished(tmp_path, study(param("model.heads", [4, 1, 2, 8])), FakeTrainer({1: 50.0}))
    assert (tmp_path / "report" / "differences_near.png").is_file()


def test_higher_is_better_turns_the_verdict(tmp_path):
    made = study(goal=Goal(METRIC, "max"))
    report = finished(tmp_path, made, FakeTrainer({1: 0.5}))
    assert report.rows[1].verdict == "better" and "higher is better" in terminal_table(report)


def test_secondary_metrics_have_tables_of_their_own_and_say_what_does_not_apply(tmp_path):
    made = study(also=(Goal("4x/exact_match", "max"), Goal("valid/loss", "min")))
    reason = "model.position='learned' is undefined from position 32 on, and 4x needs 72"
    report = finished(tmp_path, made, FakeTrainer({1: 0.5}, inapplicable={2: reason}))
    assert [goal.metric for goal in report.goals] == [METRIC, "4x/exact_match", "valid/loss"]
    verdicts = [[row.verdict for row in goal.rows] for goal in report.goals]
    assert verdicts[0][1] == "worse" and verdicts[1][1:] == ["worse", "not applicable"]
    assert report.tests == 5
    shown = (terminal_table(report), read(report, "report.md"), read(report, "index.html"))
    for text in map(html.unescape, shown):
        assert reason in text and "1 not applicable" in text
        assert "Holm's method over all 5 tests" in text and "(4x/exact_match, valid/loss)" in text
        assert text.count("4x exact match, mean ± sd") == 1 and text.count("bits per byte, mean ± sd") == 1
        assert text.count(", mean ± sd") == 3
    rows = list(csv.DictReader(read(report, "comparisons.csv").splitlines()))
    assert [r["metric"] for r in rows[::3]] == [METRIC, "4x/exact_match", "valid/loss"]
    assert (rows[5]["verdict"], rows[5]["note"], rows[5]["p_holm"]) == ("not applicable", reason, "")
    runs = list(csv.DictReader(read(report, "results.csv").splitlines()))
    assert [r["4x/exact_match"] == "" for r in runs[:3]] == [False, False, True] and runs[2]["problem"] == reason


def test_a_primary_metric_that_is_measured_once_and_does_not_apply_to_all_is_reported(tmp_path):
    made = study(goal=Goal("4x/exact_match", "max"))
    report = finished(tmp_path, made, FakeTrainer({1: 0.5}, inapplicable={2: "too long"}))
    assert [row.verdict for row in report.rows] == ["baseline", "worse", "not applicable"]
    assert "4x exact match is not applicable to heads=2: too long." in read(report, "report.md")
    assert "finished<small>too long</small>" in read(report, "index.html")
    assert not (tmp_path / "report" / "curve.png").exists()


def test_an_unfinished_study_is_reported_as_such_and_an_amended_one_too(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        finished(tmp_path, study(), FakeTrainer(broken={(1, 2): KeyboardInterrupt()}))
    said = re.search(r"(\d) of 9 runs finished; 1 interrupted, (\d) missing.", terminal_table(write_report(tmp_path)))
    assert said and int(said[1]) + int(said[2]) == 8
    report = finished(tmp_path, study(seeds=4), FakeTrainer())
    assert f"when {said[1]} results were known: seed 3." in read(report, "report.md")


def test_nothing_to_report(tmp_path):
    with pytest.raises(UserError, match="no study"):
        write_report(tmp_path)
    run_study(study(), tmp_path, trainer=lambda config, workdir: {}, validator=accept)
    with pytest.raises(UserError, match="none of the 9 runs has finished"):
        write_report(tmp_path)


def test_a_missing_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    with pytest.raises(UserError, match=r'pip install "transformer_jax\[report\]"'):
        write_report(tmp_path)
