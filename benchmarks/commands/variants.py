"""Measures every variant beside the plain model."""

from datetime import UTC, datetime
from pathlib import Path

from transformer_jax.errors import UserError


def options(parser) -> None:
    """The command's flags."""
    add = parser.add_argument
    add("--only", help="one key of the model section, such as mixer (all)")
    add("--repeats", type=int, default=5, help="pairs of steps per variant (5)")
    for name, size in (("width", 128), ("layers", 4), ("length", 256), ("rows", 4)):
        add(f"--{name}", type=int, default=size, help=f"({size})")
    add("--record", action="store_true", help="write the table to VARIANTS.md")
    add("--out", type=Path, default=Path(__file__).parents[1], help="folder of VARIANTS.md (benchmarks/)")


def run(args, overrides: dict[str, str], argv: list[str]) -> None:
    """Prints a line for each variant; with `--record` writes the table."""
    if overrides:
        raise UserError(f"--config.{next(iter(overrides))}: `variants` takes no config; see --help for its sizes")
    for name in ("repeats", "width", "layers", "length", "rows"):
        if getattr(args, name) < 1:
            raise UserError(f"--{name}={getattr(args, name)}: give 1 or more")
    from transformer_jax.combinations import MODEL_SPECS

    keys = [key for key in MODEL_SPECS if key not in ("family", "encoder_mixer")]
    if args.only not in (None, *keys):
        raise UserError(f"--only={args.only}: give one of {', '.join(keys)}")
    if args.record and (args.only or not args.out.is_dir()):
        raise UserError(f"--record writes the whole table into a folder: --only={args.only}, --out={args.out}")
    import jax

    from benchmarks import record as record_lib
    from benchmarks.measure import machine
    from benchmarks.variants import Cost, measure_variants, table

    def tell(cost: Cost) -> None:
        relative = (
            f"{cost.ratio[0]:5.2f} x  memory {cost.memory_ratio:5.2f} x  parameters {cost.parameters_ratio:6.3f} x"
        )
        print(f"{cost.key:12} {cost.spec:28} {cost.step_ms:8.1f} ms  {relative}", flush=True)

    sizes = {name: getattr(args, name) for name in ("width", "layers", "length", "rows")}
    costs = measure_variants(args.only, repeats=args.repeats, tell=tell, **sizes)
    if args.record:
        here = machine()
        header = (
            f"`{record_lib.command_line(argv)} --record`, {datetime.now(UTC):%Y-%m-%d}, {here['device_count']} x "
            f"{here['device_kind']} ({here['cpu_count']} cores), jax {jax.__version__}: "
            f"{args.layers} layers of width {args.width}, {args.rows} rows of {args.length} tokens, float32, "
            f"{args.repeats} pairs each."
        )
        (args.out / "VARIANTS.md").write_text(table(costs, header))
        print(f"recorded in {args.out / 'VARIANTS.md'}")
