"""A process of its own that compiles and times train steps, with as many cores and fake devices as it is told."""

import multiprocessing
import os
import time

from transformer_jax.errors import UserError

_AT_ONCE, _MOST = 0.2, 20  # a repeat is as many updates as fill so many seconds, and at most so many


class Worker:
    """The parent's end: `ask` a `_Steps` in the process.

    Args:
      cores: it may use so many of this machine's; None for all.
      devices: fake ones of the CPU; None leaves them as they are.

    Raises:
      UserError: where processes cannot be held to some cores, or there are fewer.
    """

    def __init__(self, cores: int | None = None, devices: int | None = None):
        if cores is not None and not hasattr(os, "sched_setaffinity"):
            raise UserError("--only=cores: this system does not hold a process to some of its cores; Linux does")
        if cores is not None and cores > len(os.sched_getaffinity(0)):
            raise UserError(f"--only=cores: {cores} cores are needed, this process has {len(os.sched_getaffinity(0))}")
        spawn = multiprocessing.get_context("spawn")
        self._pipe, theirs = spawn.Pipe()
        self._process = spawn.Process(target=_serve, args=(theirs, cores, devices), daemon=True)
        self._process.start()
        theirs.close()

    def ask(self, what: str, **given):
        """The answer of the method `what`.

        Raises:
          UserError: if the process ended, as it does when the system ends it for its memory.
        """
        try:
            self._pipe.send((what, given))
            answer = self._pipe.recv()
        except (EOFError, BrokenPipeError, ConnectionResetError):
            self._process.join()
            code = self._process.exitcode
            raise UserError(f"the measuring process ended with {code}: give a lower --limit-gib") from None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._pipe.close()
        self._process.join(10)
        if self._process.is_alive():
            self._process.kill()


def _serve(pipe, cores: int | None, devices: int | None) -> None:
    """Answers until the pipe closes."""
    if cores is not None:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    if devices is not None:
        os.environ["JAX_PLATFORMS"] = "cpu"
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_force_host_platform_device_count={devices}".strip()
    steps = _Steps()
    while True:
        try:
            what, given = pipe.recv()
        except (EOFError, KeyboardInterrupt):
            return
        try:
            answer = getattr(steps, what)(**given)
        except Exception as error:
            answer = error if isinstance(error, UserError) else RuntimeError(f"{type(error).__name__}: {error}")
        pipe.send(answer)


class _Steps:
    """Compiled train steps by key."""

    def __init__(self):
        self._steps = {}

    def build(self, key: str, config: dict, vocab: int) -> dict:
        """Compiles the step of `config`; what is known of it without running it."""
        if key not in self._steps:
            self._steps[key] = _Step(config, vocab)
        return self._steps[key].known

    def compile_for(self, config: dict, mesh: dict[str, int], vocab: int) -> dict:
        """The same for as many fake devices as the mesh has, and nothing to run: bytes per device."""
        import math

        import jax

        from transformer_jax import config as config_lib
        from transformer_jax.plan import collectives
        from transformer_jax.plan.compiled import compile_step

        found = compile_step(config_lib.from_dict(config), mesh, jax.devices()[: math.prod(mesh.values())], vocab)
        sent = collectives.total(found.collectives)
        return {"temporary": found.memory["temporaries"], "arguments": found.memory["arguments"], "sent": sent}

    def warm(self, key: str) -> float:
        """Seconds of the second update: the first also waits for memory that the process does not have yet."""
        step = self._steps[key]
        step.start()
        step.repeat()
        return step.repeat()

    def time(self, key: str) -> float:
        """Seconds of one update, the mean of as many as fill a repeat."""
        return self._steps[key].repeat()

    def drop(self, key: str) -> None:
        """Forgets a step."""
        self._steps.pop(key, None)


class _Step:
    """One program with its state, once it is started."""

    def __init__(self, config: dict, vocab: int):
        from benchmarks.growth_path import steps_in_a_row
        from transformer_jax import config as config_lib
        from transformer_jax.parallel.mesh import make_mesh
        from transformer_jax.plan.compiled import batch_structs, hyper_structs
        from transformer_jax.train import flops
        from transformer_jax.train.loop import compiled_program

        self._config, self._vocab = config_lib.from_dict(config), vocab
        self._program = program = compiled_program(self._config, vocab, make_mesh(self._config.mesh))
        start = time.perf_counter()
        structs = program.state_structs, batch_structs(self._config, program), hyper_structs(self._config, program)
        self._run = program.lower_train(*structs).compile()
        told, d = self._run.memory_analysis(), self._config.data
        per_token = flops.flops_per_token(program.arch, program.boxed_params, d.length, d.source_length)
        self.known = {
            "compile_seconds": time.perf_counter() - start,
            "parameters": flops.count(program.param_shapes),
            "flops": per_token * d.length * d.batch_size,
            "temporary": told.temp_size_in_bytes,
            "arguments": told.argument_size_in_bytes,
            "in_a_row": steps_in_a_row(self._run.as_text()),
            "attention": program.arch.execution.attention,
        }
        self._updates = 1

    def start(self) -> None:
        import jax
        import numpy as np

        from benchmarks.measure import synthetic_batch
        from transformer_jax.train.evaluation import place
        from transformer_jax.train.hyper import Hyper

        config, program = self._config, self._program
        batch = synthetic_batch(config, self._vocab, config.data.batch_size, np.random.default_rng(0))
        self._batches = place(program, jax.tree.map(lambda x: x[None], batch), leading=1)
        self._hyper = program.place([Hyper.from_config(config, program.arch)])
        self._state = program.init(self._hyper)

    def repeat(self) -> float:
        """Seconds of an update; the next repeat has as many as then fill one."""
        import jax

        start = time.perf_counter()
        for _ in range(self._updates):
            self._state, metrics = self._run(self._state, self._batches, self._hyper)
        jax.block_until_ready((self._state, metrics))
        found = (time.perf_counter() - start) / self._updates
        self._updates = max(1, min(_MOST, int(_AT_ONCE / found)))
        return found
