"""Our own model, through the program that trains it and the decoder that `generate` uses."""

import time
from dataclasses import dataclass

from benchmarks.peers.base import Peer, peers
from transformer_jax.errors import UserError


@peers.register("ours")
@dataclass(frozen=True, kw_only=True)
class Ours(Peer):
    """The train step of `train`, all updates of a repeat in one dispatch; greedy decoding with the cache.

    Attributes:
      set: keys of the config that differ, such as 'model.stack=unroll; model.remat=dots': our model against itself.
    """

    set: str = ""

    families = ("decoder_only", "encoder_decoder")
    packages = ("jax", "jaxlib", "flax", "optax")
    ours = True

    def config(self):
        """The ConfigDict of the task, with what is set.

        Raises:
          UserError: for what is no `key=value`.
        """
        from transformer_jax import config as config_lib
        from transformer_jax import config_file

        config = config_lib.from_dict(self.task.config)
        for part in filter(None, map(str.strip, self.set.split(";"))):
            key, equals, value = part.partition("=")
            if not equals:
                raise UserError(f"set={self.set!r}: write 'a.b=value; c.d=value', such as 'model.stack=unroll'")
            config_lib.override(config, key, config_file.parse(config, key, value))
        return config

    def train(self):
        return _Trainer(self.task, self.config())

    def decode(self):
        return _decoder(self.task, self.config())

    def differences(self):
        import jax

        from transformer_jax.model.arch import resolve_stack

        m = self.config().model
        found = [f"stack {resolve_stack(self.config(), jax.default_backend())}"]
        if self.task.kind == "train":
            found += [] if m.remat == "none" else [f"remat {m.remat}"]
            found += [f"{self.task.updates} updates per dispatch"]
        return found

    def machine(self):
        from benchmarks.measure import machine

        return machine()


class _Trainer:
    """The executable that is compiled ahead of time is the one that runs."""

    def __init__(self, task, config):
        import jax
        import numpy as np

        from benchmarks.measure import synthetic_batch
        from transformer_jax.parallel.mesh import make_mesh
        from transformer_jax.train import flops
        from transformer_jax.train.evaluation import place
        from transformer_jax.train.hyper import Hyper
        from transformer_jax.train.loop import compiled_program
        from transformer_jax.validate import validate

        validate(config, n_devices=jax.device_count(), platform=jax.default_backend())
        program = compiled_program(config, task.vocab, make_mesh(config.mesh))
        like = synthetic_batch(config, task.vocab, task.rows, np.random.default_rng(0))
        batches = [
            like.replace(**{f"{name}_B{'M' if name == 'source' else 'L'}": array for name, array in batch.items()})
            for batch in task.batches()
        ]
        self._batches = place(program, jax.tree.map(lambda *xs: np.stack(xs), *batches), leading=1)
        self._hyper = program.place([Hyper.from_config(config, program.arch)])
        self.parameters = flops.count(program.param_shapes)
        started = time.perf_counter()
        lowered = program.lower_train(program.state_structs, self._batches, self._hyper)
        traced = time.perf_counter()
        self._update = lowered.compile()
        self.compiling = {"trace": traced - started, "compile": time.perf_counter() - traced}
        self._state = program.init(self._hyper)

    def run(self):
        import jax

        self._state, metrics = self._update(self._state, self._batches, self._hyper)
        return jax.block_until_ready((metrics, self._state))[0]

    def outcome(self, metrics) -> dict:
        import jax
        import numpy as np

        loss = jax.device_get(metrics.loss)
        return {"loss": float(np.sum(loss.nats) / np.sum(loss.tokens))}

    def device_peak(self) -> int | None:
        from benchmarks.with_jax import device_peak

        return device_peak()


def _decoder(task, config):
    import jax
    import numpy as np

    from benchmarks.with_jax import Decoder
    from transformer_jax.data.views.base import Prompt, views
    from transformer_jax.decode.generate import generate
    from transformer_jax.decode.sampling import Sampling
    from transformer_jax.decode.writers import Model
    from transformer_jax.parallel.mesh import make_mesh
    from transformer_jax.train.hyper import Hyper
    from transformer_jax.train.loop import compiled_program
    from transformer_jax.validate import validate

    validate(config, n_devices=jax.device_count(), platform=jax.default_backend())
    program = compiled_program(config, task.vocab, make_mesh(config.mesh))
    params = program.init(program.place([Hyper.from_config(config, program.arch)])).params
    model = Model(program.arch, params, None, views.build(config.data.view))
    key = jax.random.key(task.seed)

    def write(prompts_BP):
        prompts = [Prompt(row_P, None) for row_P in np.asarray(prompts_BP)]
        batch = model.batch(prompts, task.rows)
        return generate(model.arch, params, batch, key, sampling=Sampling(), max_new=task.new, eos=-1)

    return Decoder(task, params, write)
