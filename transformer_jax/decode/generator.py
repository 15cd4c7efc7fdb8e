"""`Generator`: texts in, texts out, from a run directory or from parameters at hand."""

import dataclasses
import sys
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from transformer_jax import data as data_lib
from transformer_jax.batch import Batch
from transformer_jax.data.tokenizers.base import EOS
from transformer_jax.data.views.base import Prompt, View, views
from transformer_jax.decode.generate import generate
from transformer_jax.decode.sampling import Sampling
from transformer_jax.errors import UserError
from transformer_jax.model.arch import Arch
from transformer_jax.model.heads import parse_mask
from transformer_jax.parallel.mesh import AXES, make_mesh
from transformer_jax.train import rundir
from transformer_jax.train.checkpoint import restore_newest
from transformer_jax.train.evaluation import position_limit
from transformer_jax.train.loop import compiled_program
from transformer_jax.train.program import Program


@dataclasses.dataclass(frozen=True)
class LoadedRun:
    """A run directory as it stands: its config, model, tokenizer, and parameters (averaged ones if it keeps them)."""

    config: ConfigDict
    program: Program
    tokenizer: data_lib.Tokenizer
    params: dict
    step: int

    @property
    def heads(self):
        """The mask of `model.head_mask`, or None."""
        return parse_mask(self.config.model.head_mask, self.program.arch)


def load_run(workdir: Path) -> LoadedRun:
    """The newest checkpoint of a run directory. Changes nothing in it.

    Raises:
      UserError: if it is no run directory, or holds no checkpoint that verifies.
    """
    workdir = Path(workdir).absolute()
    config = rundir.read_config(workdir)
    if not (workdir / "tokenizer.json").is_file():
        raise UserError(f"{workdir} has no tokenizer.json: the run has not started training")
    tokenizer = data_lib.load_tokenizer(workdir / "tokenizer.json")
    program = compiled_program(config, tokenizer.vocab_size, _mesh_here(config.mesh))
    state, step = restore_newest(workdir / "checkpoints", program.state_structs)
    return LoadedRun(config, program, tokenizer, state.params if state.ema is None else state.ema, step)


def _mesh_here(mesh_config):
    """The run's mesh, or one device where the run's does not fit: parameters are resharded as they are read."""
    try:
        return make_mesh(mesh_config)
    except UserError as error:
        print(f"warning: the run's mesh does not fit this machine, one device reads it: {error}", file=sys.stderr)
        return make_mesh(dict.fromkeys(AXES, 1), jax.devices()[:1])


class Generator:
    """Generates with one model.

    Args:
      arch: of the model; its attention kernel is replaced by XLA's, which takes single queries.
      params: as trained.
      tokenizer, view: of the run, which say what a prompt is made into.
      batch_size: prompts per batch.
      heads: a mask (`model.heads`), None for none.
    """

    def __init__(self, arch: Arch, params, tokenizer: data_lib.Tokenizer, view: View, batch_size: int = 16, heads=None):
        execution = dataclasses.replace(arch.execution, attention="xla", remat="none")
        self._arch = dataclasses.replace(arch, execution=execution)
        self._params, self._tokenizer, self._view, self._batch_size = params, tokenizer, view, batch_size
        self._heads = heads

    @classmethod
    def of(cls, run: "LoadedRun") -> "Generator":
        """Generates with a trained run."""
        data = run.config.data
        return cls(run.program.arch, run.params, run.tokenizer, views.build(data.view), data.batch_size, run.heads)

    def complete(
        self, prompts: list[str], *, max_new: int, sampling: Sampling | None = None, seed: int = 0
    ) -> list[str]:
        """The continuation, answer or translation of each prompt, without the prompt.

        Args:
          max_new: tokens per answer at most; an EOS ends it earlier.

        Raises:
          UserError: if the model's positions are not defined that far.
        """
        if max_new < 1:
            raise UserError(f"max_new={max_new}: give at least 1")
        sampling = sampling or Sampling()
        ready = [self._view.prompt(text, self._tokenizer) for text in prompts]
        self._check_lengths(ready, max_new)
        texts = []
        for first in range(0, len(ready), self._batch_size):
            part = ready[first : first + self._batch_size]
            batch = pad_prompts(part, rows=min(self._batch_size, len(ready)))
            tokens_BT = generate(
                self._arch,
                self._params,
                batch,
                jax.random.fold_in(jax.random.key(seed), first),
                sampling=sampling,
                max_new=max_new,
                eos=EOS,
                heads=self._heads,
            )
            texts += [self._tokenizer.decode(row[row > EOS]) for row in np.asarray(tokens_BT)[: len(part)]]
        return texts

    def _check_lengths(self, prompts: list[Prompt], max_new: int) -> None:
        """Before the first answer, so that a long prompt at the end does not cost those before it."""
        longest = max(len(prompt.tokens_L) for prompt in prompts) + max_new - 1
        longest = max([longest, *(len(prompt.source_M) for prompt in prompts if prompt.source_M is not None)])
        reason = position_limit(self._arch, longest)
        if reason:
            raise UserError(
                f"{reason}, and {longest} are asked for: shorten the prompt, or give fewer than "
                f"max_new={max_new} tokens"
            )


def pad_prompts(prompts: list[Prompt], rows: int) -> Batch:
    """One right-padded batch of `rows` rows; rows without a prompt repeat the first.

    Widths are rounded up to powers of two from 16 on, so that few lengths are ever compiled.
    """
    prompts = prompts + prompts[:1] * (rows - len(prompts))
    tokens_BL, positions_BL, segments_BL = _pad([prompt.tokens_L for prompt in prompts])
    batch = Batch(tokens_BL, tokens_BL, segments_BL, positions_BL, segments_BL, segments_BL)
    if prompts[0].source_M is None:
        return batch
    source_BM, positions_BM, segments_BM = _pad([prompt.source_M for prompt in prompts])
    return batch.replace(source_BM=source_BM, source_positions_BM=positions_BM, source_segments_BM=segments_BM)


def _pad(sequences: list[np.ndarray]):
    longest = max(len(sequence) for sequence in sequences)
    width = max(16, 1 << (longest - 1).bit_length()) if longest > 1 else 1
    tokens_BL = np.zeros((len(sequences), width), np.int32)
    segments_BL = np.zeros_like(tokens_BL)
    for row, sequence in enumerate(sequences):
        tokens_BL[row, : len(sequence)] = sequence
        segments_BL[row, : len(sequence)] = 1
    return tokens_BL, np.broadcast_to(np.arange(width, dtype=np.int32), tokens_BL.shape), segments_BL
