"""The commands of `benchmarks.run`, a file each: a docstring, `options(parser)` and `run(args, overrides, argv)`.

They are imported for `--help`, too: what they measure with is imported when they run.
"""
