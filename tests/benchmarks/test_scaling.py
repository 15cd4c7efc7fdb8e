"""Weak scaling by count: the least is what a compiled program is held against, and the page keeps its words."""

from benchmarks import scaling
from benchmarks.run import main
from benchmarks.scaling import AXES, BEGIN, END, MACHINES, Point, measure, table, write
from transformer_jax.validate import problems


def point(axis: str, n: int, compiler: str = "cpu") -> Point:
    least = AXES[axis].least(n, AXES[axis].grows(n))
    return Point(compiler, axis, n, 1.5 * least, least, 1.0, {}, ())


def test_every_step_is_valid():
    for name, axis in AXES.items():
        for n in scaling.DEVICES:
            config = axis.grows(n).config()
            config.mesh.data = 1
            config.mesh[name] = n
            assert problems(config, n_devices=n) == [], (name, n)
    assert all(set(machines) == set(scaling.DEVICES) for machines in MACHINES.values())


def test_least_of_a_model_that_can_be_counted_by_hand():
    sizes = scaling.Sizes(layers=1, width=2, rows=3, length=5, heads=1, ffn=7, vocab=11)
    matrices = 4 * 2 * 32 + 2 * 2 * 7 + 11 * 2
    assert AXES["fsdp"].least(2, sizes) == 1 / 2 * 4 * (3 * matrices - 11 * 2)
    assert AXES["tensor"].least(2, sizes) == 6 * 2 * 1 / 2 * 4 * 3 * 5 * 2
    assert AXES["context"].least(2, sizes) == 1 / 2 * 4 * (4 * 3 * 5 * 32 + 2 * matrices)


def test_eight_devices_send_little_more_than_the_least():
    """The CPU's compiler all-reduces gradients that could be scattered, and those of q, k and v one by one."""
    [found] = measure("cpu", ["context"], [8])
    assert 1 <= found.ratio < 1.25
    assert found.kinds.keys() == {"all-reduce", "all-gather"} and found.greatest


def test_page_keeps_its_words(tmp_path, monkeypatch):
    page = tmp_path / "scaling.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    points = [point(axis, n) for axis in AXES for n in (8, 64)]
    write(points, tmp_path)
    text = page.read_text()
    assert text.startswith(f"before\n{BEGIN}\n- **fsdp**") and text.endswith(f"{END}\nafter\n") and "old" not in text
    assert table(points) in text and (tmp_path / "scaling.png").stat().st_size > 1000
    assert "| fsdp | 8 | 16.62 | 24.94 | 1.50 |" in text


def test_command(tmp_path, monkeypatch, capsys):
    assert main(["scaling", f"--out={tmp_path}"]) == 2
    assert "scaling.md" in capsys.readouterr().err
    (tmp_path / "scaling.md").write_text(f"{BEGIN}{END}")
    monkeypatch.setattr(scaling, "measure", lambda compiler: iter([point("fsdp", 8, compiler)]))
    assert main(["scaling", "--compiler=cpu", "--compiler=v5e", f"--out={tmp_path}"]) == 0
    assert "sent, cpu" in capsys.readouterr().out and "sent, v5e" in (tmp_path / "scaling.md").read_text()
