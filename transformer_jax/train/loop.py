"""`train` and `train_together`: runs, from the first update to the result; started again, they resume."""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from transformer_jax import data as data_lib
from transformer_jax.errors import UserError
from transformer_jax.files import locked
from transformer_jax.model.arch import Arch
from transformer_jax.parallel import distributed
from transformer_jax.parallel.mesh import make_mesh, population_mesh
from transformer_jax.parallel.share import share_of
from transformer_jax.train import rundir, stopping, verify
from transformer_jax.train.checkpoint import shape_differences
from transformer_jax.train.hyper import distinct, static_key
from transformer_jax.train.initial import Initial, initial_of
from transformer_jax.train.member import Member
from transformer_jax.train.metrics import Progress
from transformer_jax.train.program import Program, program
from transformer_jax.train.spikes import spikes
from transformer_jax.train.step import Recipe
from transformer_jax.train.stopping import Interrupted, Stop
from transformer_jax.train.training import Score, Training
from transformer_jax.train.watchdog import Watchdog
from transformer_jax.validate import check_classes, validate

__all__ = ["Interrupted", "compiled_program", "train", "train_together"]


def train(
    config: ConfigDict,
    workdir: Path,
    *,
    progress_file=None,
    score: Score | None = None,
    leaves: bool = False,
    allow_changes: bool = False,
) -> dict:
    """Trains, or resumes, the run of `config` in `workdir`.

    In several processes (`distributed.start`), all of them call this, with equal arguments; process 0 alone writes what
    is no part of a checkpoint, and talks.

    Args:
      workdir: made if it is not there. A finished run is not run again.
      progress_file: where lines of progress go; stderr if None.
      score: measures what `train.answers` asks for (`evaluate.answers.score`); needed where it does.
      leaves: whether this process may be ended outright by a signal while there is nothing to save.
      allow_changes: whether a run that was begun may go on with another config, data or mesh; the manifest records it.

    Returns:
      the content of result.json: `status` ('finished' or 'diverged'), `step`, `stopped_early`, `parameters`,
      `tokens_per_second` (median over windows; None if the run was shorter than one), `seconds` of training,
      both without compilation, evaluation and saving and, of runs that trained together, the run's own share;
      `members` that trained together, `compile_seconds`, `memory_bytes` (of their train step, per device),
      `flops_per_token`, `counted` (what the updates have read: `tokens`, `targets`, `bytes`), `skipped`,
      `metrics` (of the last evaluation, of the test split and of answers if they were asked for, and of
      `data.tests`; None where one does not apply), `not_applicable` (set of `data.tests` -> why).

    Raises:
      UserError: for a config that cannot be run, or a workdir of another config.
      Interrupted: after SIGINT or SIGTERM; everything up to there is saved.
    """
    flags = dict(progress_file=progress_file, score=score, leaves=leaves, allow_changes=allow_changes)
    return train_together([config], [workdir], **flags)[0]


def train_together(
    configs: Sequence[ConfigDict],
    workdirs: Sequence[Path],
    *,
    progress_file=None,
    devices=None,
    score: Score | None = None,
    leaves: bool = False,
    allow_changes: bool = False,
) -> list[dict]:
    """Trains, or resumes, runs whose static part is equal as one compiled program.

    Each has its directory, metrics, checkpoints and result as if it trained alone, and differs from that by rounding
    only. One that ends early keeps its slot: what the others compute does not depend on it, bit for bit. To resume
    bit for bit, give the same configs in the same order, on no fewer devices.

    Args:
      devices: on which; all if None.
      score, leaves, allow_changes: as `train`.

    Returns:
      the results, in order.

    Raises:
      UserError: as `train`, or if the configs differ in more than `hyper.DYNAMIC`.
      Interrupted: as `train`.
    """
    workdirs = [Path(workdir).absolute() for workdir in workdirs]
    seconds = configs[0].run.watchdog
    with (
        distributed.together(),
        Stop("preparing", leaves) as stop,
        Watchdog(seconds, stop.heard, stopping.PLACE) as watchdog,
        ExitStack() as held,
    ):
        _check_processes(configs)
        distributed.everywhere(_check_configs, configs, score)
        mesh, slots = distributed.everywhere(_mesh_of, configs, workdirs, devices)
        changed = [
            distributed.from_first(rundir.check, workdir, config, allow_changes)
            for config, workdir in zip(configs, workdirs, strict=True)
        ]
        done = distributed.from_first(_results, workdirs)
        if None not in done and not any(changed):
            return done
        args = configs, workdirs, mesh, slots, allow_changes
        members, compiled, initial = distributed.everywhere(_prepared, *args)
        for member, lines in zip(members, changed, strict=True):
            member.changes[:0] = lines
            if member.changes:
                distributed.from_first(_check_fits, member, compiled)
        distributed.from_first(_claim, members, held)
        lines = progress_file if distributed.is_first() else held.enter_context(open(os.devnull, "w"))
        progress = Progress(configs[0].train.steps, lines)
        training = Training(members, compiled, progress, initial, stop, watchdog, score)
        try:
            # Here too: closing may wait for processes that are gone.
            with distributed.together(), rundir.disk_faults(workdirs[0]):
                training.start()
                training.to_the_end()
        finally:
            training.close()
    return [member.result for member in members]


def _check_processes(configs: Sequence[ConfigDict]) -> None:
    """Refuses what several processes cannot do; each of them sees it."""
    processes = jax.process_count()
    if processes == 1:
        return
    if not distributed.several():
        raise UserError(f"{processes} processes that have not met: call parallel.distributed.start() first")
    if len(configs) > 1:
        raise distributed.AgreedError(
            f"{len(configs)} runs that train together, in {processes} processes: a population trains in one process; "
            "start each run by itself, or the study with --launcher=local or slurm"
        )
    if configs[0].train.answers:
        raise distributed.AgreedError(
            f"train.answers={configs[0].train.answers} in {processes} processes: answers are written by one; give 0, "
            "and `evaluate` the run when it has ended"
        )


def _check_configs(configs: Sequence[ConfigDict], score: Score | None) -> None:
    found = spikes.build(configs[0].train.spikes)
    if len(configs) > 1 and found.goes_back:
        raise UserError(
            f"train.spikes={configs[0].train.spikes!r}: of {len(configs)} runs that train together, one cannot go back "
            "while the others go on; give 'skip(…)', or let each train alone (study run --members=1)"
        )
    if len({static_key(config) for config in configs}) != 1:
        raise UserError(f"{len(configs)} configs whose static part differs cannot train as one program")
    if configs[0].train.answers and score is None:
        raise UserError(f"train.answers={configs[0].train.answers}: nothing is given that scores answers; give 0")


def _mesh_of(configs: Sequence[ConfigDict], workdirs: list[Path], devices) -> tuple[Mesh, int | None]:
    """Their mesh and slots, with the configs checked against it."""
    devices = jax.devices() if devices is None else devices
    mesh, slots = mesh_for(configs, devices, rundir.replicas_before(workdirs))
    for config in distinct(configs):
        validate(config, n_devices=mesh.size // mesh.shape["replica"], platform=devices[0].platform)
    return mesh, slots


def _results(workdirs: list[Path]) -> list[dict | None]:
    return [rundir.read_result(workdir) for workdir in workdirs]


def _prepared(
    configs, workdirs: list[Path], mesh: Mesh, slots: int | None, allow_changes: bool
) -> tuple[list[Member], Program, Initial]:
    """The runs with their data, their program and what they begin from; everything that can refuse is called here."""
    members = [
        _member(config, workdir, mesh, slot, allow_changes)
        for slot, (config, workdir) in enumerate(zip(configs, workdirs, strict=True))
    ]
    compiled = compiled_program(configs[0], members[0].data.vocab_size, mesh, slots)
    _ = compiled.state_shardings  # refuses what the mesh cannot divide
    initial = initial_of(configs[0], compiled, members[0].data.tokenizer, workdirs)
    for workdir in workdirs:
        initial.check(workdir)
    return members, compiled, initial


def _claim(members: list[Member], held: ExitStack) -> None:
    """Takes the directories, after everything that can refuse, so that a mistake leaves none behind."""
    for member in members:
        rundir.claim(member.workdir, member.config)
    for member in members:
        what = f"another process is training in {member.workdir}"
        held.enter_context(locked(member.workdir / ".lock", what))
        if member.changes:
            step = next(iter(verify.steps(member.workdir / "checkpoints")), None)
            rundir.change(member.workdir, member.config, member.changes, step)
            print("\n  ".join([f"{member.workdir} goes on with changes:", *member.changes]), flush=True)


def _check_fits(member: Member, compiled: Program) -> None:
    """Refuses changes with which the checkpoints could not be read, whatever is allowed.

    Raises:
      UserError: with what has another size.
    """
    rundir.check_vocabulary(member.workdir, member.data)
    directory = member.workdir / "checkpoints"
    step = next((step for step in verify.steps(directory) if verify.fault(directory, step) is None), None)
    different = [] if step is None else shape_differences(directory / str(step), compiled.state_structs)
    if different:
        raise UserError(
            f"--workdir={member.workdir} cannot be gone on with, --allow_changes or not: checkpoint {step} holds "
            "other arrays than the model and optimizer of this config:\n  " + "\n  ".join(different[:8])
        )


def _member(config: ConfigDict, workdir: Path, mesh: Mesh, slot: int, allow_changes: bool) -> Member:
    """A run with its data, which must be those that it was begun with, and fit its head."""
    data = data_lib.load(config.data, config.seed, context=mesh.shape["context"])
    check_classes(config, data)
    member = Member(config, workdir, data, slot, share_of(mesh, config.data.batch_size))
    member.changes += rundir.check_data(workdir, data.identity, config.data.corpus, allow_changes)
    member.changes += rundir.check_mesh(workdir, mesh, allow_changes)
    return member


def mesh_for(configs: Sequence[ConfigDict], devices, before: int | None = None) -> tuple[Mesh, int | None]:
    """The mesh of runs that train together, and their slots on it; None for a run by itself.

    Args:
      before: over how many replicas they were laid when they were interrupted; None if they begin.
    """
    if len(configs) == 1:
        return make_mesh(configs[0].mesh, devices), None
    mesh = population_mesh(configs[0].mesh, len(configs), devices, before)
    replicas = mesh.shape["replica"]
    if before not in (None, replicas):
        print(
            f"warning: {len(configs)} runs that began on {before} replicas go on with {replicas}, for want of devices: "
            "equal but for rounding to what they would have been",
            flush=True,
        )
    return mesh, -(-len(configs) // replicas) * replicas


def compiled_program(config: ConfigDict, vocab: int, mesh, members: int | None = None) -> Program:
    """The program of a config: equal static parts give the same object, compiled once."""
    arch = Arch.from_config(config, vocab=vocab, platform=mesh.devices.flat[0].platform)
    return program(arch, Recipe.from_config(config), mesh, members)
