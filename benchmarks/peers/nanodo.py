"""nanodo, from a folder: the one that has the package nanodo/."""

import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers.base import FolderPeer, peers


@peers.register("nanodo")
@dataclass(frozen=True, kw_only=True)
class NanoDo(FolderPeer):
    """DeepMind's decoder-only Transformer, in Flax linen."""

    file = "nanodo/model.py"
    packages = ("jax", "jaxlib", "flax", "optax")

    def problems(self):
        if not self.task.model["tied_embeddings"]:
            return [*super().problems(), "model.tied_embeddings=False: it has one table"]
        return super().problems()

    def train(self):
        from benchmarks import with_jax

        sys.path.insert(0, str(Path(self.path).expanduser().absolute()))
        from nanodo import model as module

        m = self.task.model
        model = module.TransformerDo(
            module.DoConfig(
                D=m["width"],
                H=m["heads"],
                L=self.task.positions,
                N=m["layers"],
                V=self.task.vocab,
                F=m["ffn_size"],
                dtype=with_jax.DTYPES[m["dtype"]],
                fsdp_enabled=False,
            )
        )
        tokens_BL = self.task.batches()[0]["tokens"]
        return with_jax.Trainer(
            self.task,
            lambda key: model.init(key, tokens_BL),
            lambda params, batch: model.apply(params, batch["tokens"]),
        )

    def differences(self):
        found = [] if self.task.activation == "tanh GELU" else [f"tanh GELU for {self.task.activation}"]
        found.append("norms without shift")
        if self.task.model["bias"]:
            found.append("no biases")
        return found
