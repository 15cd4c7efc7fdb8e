"""`train`: one config, one run; started again with the same workdir, it resumes."""

import math
import signal
import threading
from contextlib import contextmanager
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from transformer_jax import data as data_lib
from transformer_jax.batch import real_tokens
from transformer_jax.errors import UserError
from transformer_jax.files import locked, write_json
from transformer_jax.model.arch import Arch
from transformer_jax.model.heads import parse_mask
from transformer_jax.objective import Loss
from transformer_jax.parallel.mesh import make_mesh
from transformer_jax.train import flops, rundir
from transformer_jax.train.checkpoint import Checkpoints
from transformer_jax.train.clock import Clock
from transformer_jax.train.evaluation import evaluate_loss, evaluate_tests, place, summarise
from transformer_jax.train.metrics import Metrics, Progress
from transformer_jax.train.step import Program, Recipe, StepMetrics, program
from transformer_jax.validate import validate


class Interrupted(KeyboardInterrupt):
    """The run was asked to stop, and has saved a checkpoint to resume from."""


def train(config: ConfigDict, workdir: Path, *, progress_file=None) -> dict:
    """Trains, or resumes, the run of `config` in `workdir`.

    Args:
      workdir: made if it is not there. A finished run is not run again.
      progress_file: where lines of progress go; stderr if None.

    Returns:
      the content of result.json: `status` ('finished' or 'diverged'), `step`, `parameters`,
      `tokens_per_second` (median over windows; None if the run was shorter than one), `seconds` of training,
      both without compilation, evaluation and saving,
      `flops_per_token`, `skipped`, `metrics` (of the last evaluation and of `data.tests`; None where one does
      not apply), `not_applicable` (set of `data.tests` -> why).

    Raises:
      UserError: for a config that cannot be run, or a workdir of another config.
      Interrupted: after SIGINT or SIGTERM; everything up to there is saved.
    """
    if jax.process_count() > 1:
        raise UserError(f"{jax.process_count()} processes: a run of more than one process is not supported yet")
    validate(config, n_devices=jax.device_count(), platform=jax.default_backend())
    workdir = Path(workdir).absolute()
    rundir.check(workdir, config)
    done = rundir.read_result(workdir)
    if done is not None:
        return done
    mesh = make_mesh(config.mesh)
    data = data_lib.load(config.data, config.seed, context=mesh.shape["context"])
    rundir.check_data(workdir, data.identity)
    _ = compiled_program(config, data.vocab_size, mesh).state_shardings  # refuses what the mesh cannot divide
    rundir.claim(workdir, config)  # after everything that can refuse, so that a mistake leaves no directory behind
    with locked(workdir / ".lock", f"another process is training in {workdir}"), stop_signals() as stop:
        run = Run(config, workdir, data, mesh, Progress(config.train.steps, progress_file))
        try:
            return run.to_the_end(stop)
        finally:
            run.close()


def compiled_program(config: ConfigDict, vocab: int, mesh) -> Program:
    """The program of a config: equal static parts give the same object, compiled once."""
    arch = Arch.from_config(config, vocab=vocab, platform=mesh.devices.flat[0].platform)
    return program(arch, Recipe.from_config(config), mesh)


class Run:
    """A run in progress: its state, data position, files and clock."""

    def __init__(self, config, workdir: Path, data, mesh, progress: Progress):
        self._config, self._workdir, self._data, self._progress = config, workdir, data, progress
        self._program = compiled_program(config, data.vocab_size, mesh)
        self._heads = parse_mask(config.model.head_mask, self._program.arch)
        self._checkpoints = Checkpoints(workdir / "checkpoints", config.run.keep_checkpoints)
        self._iterator = data.train_iterator()
        self._clock = Clock()
        self._compiled: set[int] = set()  # numbers of updates per dispatch that have run in this process
        self._pending: list[StepMetrics] = []  # not logged yet, most of them still on the devices
        self._last_eval: tuple[int, dict[str, float]] | None = None
        key = jax.random.key(config.seed)
        self._step_key = jax.random.fold_in(key, 1)
        self._state, self.step = self._start(jax.random.fold_in(key, 0))
        data.tokenizer.save(workdir / "tokenizer.json")
        write_json(workdir / "manifest.json", rundir.manifest(config, data, mesh))
        self._metrics = Metrics(workdir, config.run.tensorboard)

    def _start(self, init_key):
        for line in self._checkpoints.corrupt:
            print(f"warning: {line}", flush=True)
        if self._checkpoints.latest is None:
            return self._program.init(init_key), 0
        state, rest = self._checkpoints.restore(self._program.state_structs)
        self._iterator.set_state(rest["data"])
        self._clock.resume(rest["clock"])
        reported = dict.fromkeys(rest.get("reported", ()), 0)
        tree = jax.tree.structure(StepMetrics(Loss(*[0] * 5), 0, 0, reported))
        self._pending = [jax.tree.unflatten(tree, map(np.asarray, leaves)) for leaves in rest["pending"]]
        return state, self._checkpoints.latest

    def close(self) -> None:
        self._iterator.close()
        self._checkpoints.close()
        self._metrics.close()

    def to_the_end(self, stop: threading.Event) -> dict:
        """Updates until the last one, divergence or a signal."""
        t, r = self._config.train, self._config.run
        while self.step < t.steps:
            before = self.step
            self._dispatch(min(t.steps_per_dispatch, t.steps - self.step))
            if self._crossed(before, r.log_every) and self._log_and_diverged():
                return self._finish("diverged")
            if self._crossed(before, t.eval_every):
                self._evaluate()
            if stop.is_set():
                self._save()
                raise Interrupted(f"stopped at step {self.step}; the same command resumes")
            if self._crossed(before, r.checkpoint_every):
                self._save()
        return self._finish("finished")

    def _crossed(self, before: int, every: int) -> bool:
        """Whether a multiple of `every`, or the end, was reached since `before`."""
        return self.step // every > before // every or self.step == self._config.train.steps

    def _dispatch(self, updates: int) -> None:
        batches = [next(self._iterator) for _ in range(updates)]
        stacked = jax.tree.map(lambda *xs: np.stack(xs), *batches)
        batches_TBL = place(self._program, stacked, leading=1)
        self._state, metrics = self._program.train(self._state, batches_TBL, self._step_key, self._heads)
        self._pending.append(metrics)
        self.step += updates
        if updates in self._compiled:
            self._clock.tokens += sum(real_tokens(batch) for batch in batches)
        else:  # compiled by this call, which is not training speed
            jax.block_until_ready(metrics)
            self._compiled.add(updates)
            self._clock.restart()

    def _log_and_diverged(self) -> bool:
        """Fetches what the devices have counted, writes and shows it; True if too much was skipped."""
        fetched = jax.device_get(self._pending)
        self._pending = []
        speed = self._clock.lap()
        sums = jax.tree.map(lambda *xs: np.sum(np.concatenate(xs), dtype=np.float64), *[m.loss for m in fetched])
        values = {f"train/{name}": value for name, value in summarise(sums).items()}
        values["train/grad_norm"] = float(np.mean(np.concatenate([m.grad_norm for m in fetched])))
        for name in fetched[0].reported:
            values[f"train/{name}"] = float(np.mean(np.concatenate([m.reported[name] for m in fetched])))
        values["train/skipped"] = float(self._state.skipped)
        applied = self.step - int(self._state.skipped)  # a skipped update does not move the schedule
        values["train/learning_rate"] = float(self._program.recipe.optim.schedule(applied - 1))
        if speed is not None:
            values["train/tokens_per_second"] = speed
            utilisation = flops.utilisation(speed * self._flops_per_token())
            if utilisation is not None:
                values["train/model_flops_utilisation"] = utilisation
        self._write(values)
        self._show(values)
        self._clock.restart()  # writing is no training either
        return values["train/skipped"] > self._config.train.max_skipped

    def _evaluate(self) -> None:
        jax.block_until_ready(self._state)  # updates under way are training time
        with self._clock.paused():
            batches = self._data.eval_batches("valid", self._config.train.eval_batches)
            values = evaluate_loss(self._program, self._eval_params, batches, self._heads)
            values = {f"valid/{name}": value for name, value in values.items()}
            self._last_eval = (self.step, values)
            self._write(values)
            self._show(values)

    @property
    def _eval_params(self):
        return self._state.params if self._state.ema is None else self._state.ema

    def _save(self) -> None:
        jax.block_until_ready(self._state)
        with self._clock.paused():
            pending = [[x.tolist() for x in jax.tree.leaves(jax.device_get(m))] for m in self._pending]
            rest = {"data": self._iterator.get_state(), "clock": self._clock.state(), "pending": pending}
            rest["reported"] = sorted(self._pending[0].reported) if self._pending else []
            self._checkpoints.save(self.step, self._state, rest)

    def _evaluate_tests(self) -> tuple[dict[str, float | None], dict[str, str]]:
        """Their metrics, and by set why it could not be evaluated."""
        names = [name.partition("/")[2] for name in self._last_eval[1]]
        with self._clock.paused():
            values, reasons = evaluate_tests(self._program, self._eval_params, self._data.tests, names, self._heads)
            if values:
                self._write(values)
            for test, data in self._data.tests.items():
                if test in reasons:
                    print(f"{test} is not applicable: {reasons[test]}", flush=True)
                    continue
                shown = {f"{test} {name}": values[f"{test}/{name}"] for name in ("loss", "exact_match")}
                self._progress.tick(self.step, shown, f"  all {len(data.examples('test'))} examples")
        return values, reasons

    def _finish(self, status: str) -> dict:
        tests, reasons = {}, {}
        if status == "finished":
            if self._last_eval is None or self._last_eval[0] != self.step:
                self._evaluate()
            self._save()
            if not math.isfinite(self._last_eval[1]["valid/loss"]):
                status = "diverged"
            else:
                tests, reasons = self._evaluate_tests()
        if status == "diverged":
            print(
                f"diverged at step {self.step}: {int(self._state.skipped)} updates were not finite and left out "
                f"(train.max_skipped={self._config.train.max_skipped})",
                flush=True,
            )
        result = {
            "status": status,
            "step": self.step,
            "parameters": flops.count(self._state.params),
            "tokens_per_second": self._clock.median(),
            "seconds": self._clock.total,
            "flops_per_token": self._flops_per_token(),
            "skipped": int(self._state.skipped),
            "metrics": self._last_eval[1] | tests if status == "finished" else {},
            "not_applicable": reasons,
        }
        write_json(self._workdir / "result.json", result)
        return result

    def _flops_per_token(self) -> float:
        d = self._config.data
        return flops.flops_per_token(self._program.arch, self._program.boxed_params, d.length, d.source_length)

    def _write(self, values: dict[str, float | None]) -> None:
        self._metrics.write(self.step, {"seconds": self._clock.total, **values})

    def _show(self, values: dict[str, float]) -> None:
        names = {
            "train/loss": "loss",
            "valid/loss": "valid loss",
            "valid/bits_per_byte": "valid bits/byte",
            "train/tokens_per_second": "tokens/s",
            "train/model_flops_utilisation": "MFU",
        }
        shown = {names[key]: value for key, value in values.items() if key in names}
        note = f"  {int(values['train/skipped'])} updates skipped" if values.get("train/skipped") else ""
        self._progress.tick(self.step, shown, note)


@contextmanager
def stop_signals():
    """An event that the first SIGINT or SIGTERM sets; a second SIGINT interrupts at once."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def on_signal(number, frame):
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
