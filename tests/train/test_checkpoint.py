"""Checkpoints: committed or not there, verified before they are read, walked back from, and what a full disk leaves."""

import contextlib
import json
import os
import subprocess

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from transformer_jax.errors import UserError
from transformer_jax.train import checkpoint, verify
from transformer_jax.train.checkpoint import Checkpoints, common_step, restore_newest, shape_differences


def state(value=0.0, width=8):
    return {"params": {"w": jnp.full((4, width), value), "b": jnp.arange(3.0)}, "step": jnp.int32(1)}


def structs(tree):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), tree)


def saved(directory, *steps):
    checkpoints = Checkpoints(directory / "checkpoints", keep=10)
    for step in steps:
        checkpoints.save(step, state(step), {"at": step})
    return checkpoints


def largest(directory):
    return max((path for path in directory.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


def test_a_step_comes_back_with_what_else_was_saved(tmp_path):
    checkpoints = saved(tmp_path, 3, 10)
    assert checkpoints.steps == [10, 3] and checkpoints.latest == 10
    found, rest = checkpoints.restore(structs(state()), 3)
    jax.tree.map(np.testing.assert_array_equal, found, state(3))
    assert rest == {"at": 3}
    checkpoints.save(10, state(-1.0), {"at": -1})  # it is there
    assert checkpoints.restore(structs(state()))[1] == {"at": 10}


@pytest.mark.parametrize("place", ["save", "hash", "manifest", "rename"])
def test_what_is_killed_before_it_is_committed_is_no_step(tmp_path, monkeypatch, place):
    saved(tmp_path, 1)

    class Killed(BaseException):
        pass

    def die(*args, **kwargs):
        raise Killed

    target = {
        "save": (checkpoint.ocp, "save_checkpointables"),
        "hash": (verify, "_digests"),
        "manifest": (verify, "write_json"),
        "rename": (checkpoint.Path, "rename"),
    }[place]
    checkpoints = Checkpoints(tmp_path / "checkpoints", 10)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(*target, die)
        checkpoints.save(2, state(2), {"at": 2})
    assert verify.steps(tmp_path / "checkpoints") == [1]
    again = Checkpoints(tmp_path / "checkpoints", 10)
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["1", "1.sha256.json"]
    assert common_step([again]) == 1
    again.save(2, state(2), {"at": 2})
    assert again.restore(structs(state()))[1] == {"at": 2}


MANIFESTS = {
    "list": [],
    "empty": {},
    "numbers": {"a": 1},
    "null": None,
    "text": "a",
    "torn": "{",
    "deep": "[" * 100_000,
}


@pytest.mark.parametrize("kind", [*MANIFESTS, "nul", "none", "link"])
def test_a_manifest_that_is_none_does_not_verify(tmp_path, kind, capsys):
    saved(tmp_path, 1, 2)
    manifest = tmp_path / "checkpoints/2.sha256.json"
    if kind == "nul":
        manifest.write_bytes(bytes(manifest.stat().st_size))
    elif kind in ("none", "link"):
        moved = manifest.rename(tmp_path / "moved")
        if kind == "link":
            manifest.symlink_to(moved)
    else:
        content = MANIFESTS[kind]
        manifest.write_text(content if kind in ("torn", "deep") else json.dumps(content))
    again = Checkpoints(tmp_path / "checkpoints", 10)
    with pytest.raises(UserError, match=r"checkpoint 2 .* does not verify"):
        again.restore(structs(state()), 2)
    assert common_step([again]) == 1 and verify.steps(tmp_path / "checkpoints") == [1]
    assert "checkpoint 2 does not verify" in capsys.readouterr().out
    assert (tmp_path / "checkpoints/2.corrupt").is_dir()


@pytest.mark.parametrize("damage", ["flip", "cut", "more", "missing", "link", "folder link"])
def test_files_that_differ_are_found_before_they_are_read(tmp_path, damage, monkeypatch):
    saved(tmp_path, 1, 2)
    path = largest(tmp_path / "checkpoints/2")
    content = path.read_bytes()
    if damage == "flip":
        path.write_bytes(content[:7] + bytes([content[7] ^ 16]) + content[8:])
    elif damage == "cut":
        path.write_bytes(content[:-1])
    elif damage == "more":
        (path.parent / "new").write_bytes(b"")
    elif damage == "missing":
        path.unlink()
    elif damage == "link":
        path.symlink_to(path.rename(tmp_path / "moved"))
    else:
        path.parent.symlink_to(path.parent.rename(tmp_path / "moved"))
    loads = []
    monkeypatch.setattr(checkpoint, "load", lambda path, wanted: loads.append(path) or {"state": 0})
    with pytest.raises(UserError, match="does not verify"):
        Checkpoints(tmp_path / "checkpoints", 10).restore(structs(state()), 2)
    assert not loads
    assert restore_newest(tmp_path / "checkpoints", structs(state())) == (0, 1)
    assert loads == [tmp_path / "checkpoints/1"]


def test_names_that_are_taken_are_no_reason_to_lose_anything(tmp_path, capsys):
    checkpoints = tmp_path / "checkpoints"
    saved(tmp_path, 1, 2)
    (checkpoints / "2.corrupt").mkdir()
    (checkpoints / "2.corrupt_").symlink_to(tmp_path / "nothing")
    (checkpoints / "٣").mkdir()  # digits, but no number that orbax writes
    (checkpoints / "07").mkdir()
    (checkpoints / "9").write_text("no directory")
    (checkpoints / "2.sha256.json").write_text("{}")
    again = Checkpoints(checkpoints, 10)
    assert again.steps == [2, 1] and common_step([again]) == 1
    assert "kept as 2.corrupt__" in capsys.readouterr().out
    assert (checkpoints / "2.corrupt__").is_dir() and (checkpoints / "2.corrupt__.sha256.json").is_file()


def test_members_agree_on_what_all_have_and_nothing_good_goes_before_that(tmp_path):
    one, other = (saved(tmp_path / name, *steps) for name, steps in [("a", (1, 2, 3)), ("b", (1, 2))])
    path = largest(tmp_path / "b/checkpoints/2")
    path.write_bytes(path.read_bytes() + b"x")
    other = Checkpoints(tmp_path / "b/checkpoints", 10)
    assert common_step([one, other]) == 1
    assert one.steps == other.steps == [1]


def test_another_state_is_refused_with_the_arrays_that_differ(tmp_path):
    checkpoints = saved(tmp_path, 1)
    wider = state(width=16)
    wider["params"]["new"] = wider["params"].pop("b")
    lines = ["params/b: (3,) -> none", "params/new: none -> (3,)", "params/w: (4, 8) -> (4, 16)"]
    assert shape_differences(tmp_path / "checkpoints/1", structs(wider)) == lines
    assert shape_differences(tmp_path / "checkpoints/1", structs(state())) == []
    with pytest.raises(UserError, match=r"params/w: \(4, 8\) -> \(4, 16\)"):
        checkpoints.restore(structs(wider))


@contextlib.contextmanager
def small_disk(path, size="300k"):
    path.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(path)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting is not permitted here")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def test_a_full_disk_is_told_and_leaves_the_checkpoints_before(tmp_path):
    with small_disk(tmp_path / "disk") as disk:
        checkpoints = Checkpoints(disk / "checkpoints", 100)
        with pytest.raises(
            UserError, match=r"cannot take checkpoint \d+: No space left.*the same command goes on"
        ) as told:
            for step in range(1, 100):
                checkpoints.save(step, state(step), {"at": step})
        steps = checkpoints.steps
        assert f"goes on from {steps[0]}" in str(told.value) and 1 in steps
        assert not list((disk / "checkpoints").glob("*.saving*"))
        again = Checkpoints(disk / "checkpoints", 100)
        assert all(again.fault(step) is None for step in steps)
        assert again.restore(structs(state()))[1] == {"at": steps[0]}


def test_a_directory_that_is_moved_away_is_not_made_anew(tmp_path):
    checkpoints = saved(tmp_path, 1)
    (tmp_path / "checkpoints").rename(tmp_path / "moved")
    for _ in range(2):
        with pytest.raises(UserError, match="was moved, removed or replaced while the run was training"):
            checkpoints.save(2, state(2), {"at": 2})
        (tmp_path / "checkpoints").mkdir(exist_ok=True)
    assert verify.steps(tmp_path / "checkpoints") == [] and verify.fault(tmp_path / "moved", 1) is None


def test_a_read_only_directory_is_told_when_it_is_opened(tmp_path):
    with small_disk(tmp_path / "disk") as disk:
        saved(disk, 1)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with pytest.raises(UserError, match=r"cannot be written: Read-only file system.*goes on from 1"):
            Checkpoints(disk / "checkpoints", 10)
        assert restore_newest(disk / "checkpoints", structs(state()))[1] == 1


def test_only_the_newest_are_kept_and_a_deletion_is_finished_later(tmp_path):
    directory = tmp_path / "checkpoints"
    saved(tmp_path, 1, 2, 3)
    os.rename(directory / "1", directory / "1.deleted")  # as a kill leaves it
    checkpoints = Checkpoints(directory, keep=1)
    checkpoints.prune()
    assert sorted(path.name for path in directory.iterdir()) == ["3", "3.sha256.json"]
