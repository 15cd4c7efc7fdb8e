"""Studies: a question, its variants and seeds, the runs, the statistics and the report.

Read in this order: grid (which variants), study (the question), budget and tune (what makes variants equal), trials
(variants x seeds -> configs), store (the directory), units (what trains together), work, launch, run, stats, report.
"""

from transformer_jax.study.claims import Claim, claim
from transformer_jax.study.grid import Grid, Point, chain, fixed, param, point, product, zip_
from transformer_jax.study.report import Report, terminal_table, write_report
from transformer_jax.study.run import Summary, run_study
from transformer_jax.study.stats import Comparison, compare
from transformer_jax.study.store import Run, Store
from transformer_jax.study.study import Budget, Goal, Resources, Study, Tune, load_study
from transformer_jax.study.trials import Trial, trials

__all__ = [
    "Budget",
    "Claim",
    "Comparison",
    "Goal",
    "Grid",
    "Point",
    "Report",
    "Resources",
    "Run",
    "Store",
    "Study",
    "Summary",
    "Trial",
    "Tune",
    "chain",
    "claim",
    "compare",
    "fixed",
    "load_study",
    "param",
    "point",
    "product",
    "run_study",
    "terminal_table",
    "trials",
    "write_report",
    "zip_",
]
