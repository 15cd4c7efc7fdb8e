"""Records activations and gradients of each residual scheme at initialisation."""

from pathlib import Path

from transformer_jax.errors import UserError


def options(parser) -> None:
    """The command's flags."""
    parser.add_argument("--depth", type=int, default=24, help="layers (24)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1], help="folder of init_scale.md and .png")


def run(args, overrides: dict[str, str], argv: list[str]) -> None:
    """Writes init_scale.md and its picture."""
    if overrides:
        raise UserError(f"--config.{next(iter(overrides))}: `init` takes no config; see --help for its sizes")
    if args.depth < 1 or not args.out.is_dir():
        raise UserError(f"--depth={args.depth}, --out={args.out}: give 1 or more, and a folder")
    from benchmarks import record as record_lib
    from benchmarks.init_scale import picture, scales, table
    from transformer_jax.study.report.charts import require

    require()
    found = scales(args.depth)
    command = record_lib.command_line([arg for arg in argv if not arg.startswith("--out")]) + " --out=docs"
    (args.out / "init_scale.md").write_text(table(found, command))
    picture(found, args.out / "init_scale.png")
    print(table(found, command))
