"""The templates in docs/launching: they parse, and give `train` no flag that it does not take."""

import argparse
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from transformer_jax import config as config_lib
from transformer_jax import train_commands

FOLDER = Path(__file__).parents[1] / "docs/launching"
TEMPLATES = sorted(path for path in FOLDER.iterdir() if path.suffix != ".md")
SCRIPTS = [path for path in TEMPLATES if path.suffix in (".sh", ".sbatch")]
MANIFESTS = [path for path in TEMPLATES if path.suffix == ".yaml"]


def flags_of_train() -> set[str]:
    parser = argparse.ArgumentParser()
    train_commands.add(parser.add_subparsers(), lambda name, function, group=None: parser)
    return {flag for action in parser._actions for flag in action.option_strings}


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_flags_are_those_of_train(path):
    text = path.read_text()
    command = re.sub(r"^ *# ?- ", "- ", text, flags=re.MULTILINE).partition("transformer_jax")[2]
    given = set(re.findall(r"--([a-z_][\w.]*)=", command))
    known = {flag.removeprefix("--") for flag in flags_of_train()} | {
        f"config.{key}" for key in config_lib.known_keys()
    }
    others = {"command", "zone", "worker", "accelerator-type", "format", "version"}  # of gcloud
    assert {"config", "workdir"} <= given and given - others <= known


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_it_is_listed_and_marked(path):
    assert f"({path.name})" in (FOLDER / "README.md").read_text()
    assert "TESTED" in "".join(path.read_text().splitlines()[:5])


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_parse(path):
    if shutil.which("bash") is None:
        pytest.skip("no bash")
    subprocess.run(["bash", "-n", str(path)], check=True)


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_manifests_parse(path):
    yaml = pytest.importorskip("yaml")
    assert isinstance(yaml.safe_load(path.read_text()), dict)


def test_the_job_set_restarts_what_wants_to_be_queued_again():
    yaml = pytest.importorskip("yaml")
    (job,) = yaml.safe_load((FOLDER / "jobset.yaml").read_text())["spec"]["replicatedJobs"]
    rules = job["template"]["spec"]["podFailurePolicy"]["rules"]
    action = {code: rule["action"] for rule in rules for code in rule.get("onExitCodes", {}).get("values", ())}
    assert action == {2: "FailJob", 70: "Count", 75: "Count"}
    assert job["template"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] >= 120
