"""nanoGPT: its model.py, from a folder."""

from dataclasses import dataclass

from benchmarks.peers.base import FolderPeer, peers


@peers.register("nanogpt")
@dataclass(frozen=True, kw_only=True)
class NanoGPT(FolderPeer):
    """Karpathy's GPT, in torch.

    Attributes:
      compiled: through torch.compile, as its train.py does by default.
    """

    compiled: bool = False

    file = "model.py"
    packages = ("torch", "numpy")

    def problems(self):
        found, m = super().problems(), self.task.model
        if m["ffn_size"] != 4 * m["width"]:
            found.append(f"model.ffn_size={m['ffn_size']}: it has 4 x model.width = {4 * m['width']}")
        if not m["tied_embeddings"]:
            found.append("model.tied_embeddings=False: it has one table")
        return found

    def train(self):
        from benchmarks import with_torch

        with_torch.start(self.task)
        m, module = self.task.model, self.load()
        model = module.GPT(
            module.GPTConfig(
                block_size=self.task.positions,
                vocab_size=self.task.vocab,
                n_layer=m["layers"],
                n_head=m["heads"],
                n_embd=m["width"],
                dropout=0.0,
                bias=m["bias"],
            )
        )
        return with_torch.Trainer(
            self.task, model, lambda model, batch: model(batch["tokens"], batch["targets"])[1], compiled=self.compiled
        )

    def differences(self):
        found = ["fused AdamW"]
        if self.task.activation != "exact GELU":
            found.append(f"exact GELU for {self.task.activation}")
        if not self.task.model["bias"]:
            found.append("norms without shift")
        return found
