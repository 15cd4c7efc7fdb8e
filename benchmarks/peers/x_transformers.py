"""x-transformers."""

from dataclasses import dataclass

from benchmarks.peers.base import Peer, peers


@peers.register("x_transformers")
@dataclass(frozen=True, kw_only=True)
class XTransformers(Peer):
    """TransformerWrapper around a Decoder with torch's fused attention.

    Attributes:
      compiled: through torch.compile; training only.
    """

    compiled: bool = False

    packages = ("torch", "x-transformers", "numpy")

    def problems(self):
        if self.compiled and self.task.kind == "decode":
            return [*super().problems(), "compiled=True is for training"]
        return super().problems()

    def model(self):
        """The torch module."""
        from x_transformers import Decoder, TransformerWrapper

        from benchmarks import with_torch

        with_torch.start(self.task)
        m = self.task.model
        layers = Decoder(
            dim=m["width"],
            depth=m["layers"],
            heads=m["heads"],
            attn_dim_head=m["width"] // m["heads"],
            attn_flash=True,
            ff_mult=m["ffn_size"] / m["width"],
            ff_no_bias=not m["bias"],
        )
        model = TransformerWrapper(
            num_tokens=self.task.vocab,
            max_seq_len=self.task.positions,
            attn_layers=layers,
            tie_embedding=m["tied_embeddings"],
        )
        return model.to(with_torch.device())

    def train(self):
        from benchmarks import with_torch

        def loss(model, batch):
            return with_torch.cross_entropy(model(batch["tokens"]), batch["targets"])

        return with_torch.Trainer(self.task, self.model(), loss, compiled=self.compiled)

    def decode(self):
        from x_transformers import AutoregressiveWrapper

        from benchmarks import with_torch

        model, task = self.model().eval(), self.task
        writer = AutoregressiveWrapper(model)

        def write(prompts_BP):
            return writer.generate(prompts_BP, task.new, temperature=0.0, cache_kv=True)

        return with_torch.Decoder(task, model, write)

    def differences(self):
        found = ["fused AdamW"] if self.task.kind == "train" else []
        if self.task.activation != "exact GELU":
            found.append(f"exact GELU for {self.task.activation}")
        found.append("norms without shift")
        if self.task.model["bias"]:
            found.append("no bias in attention")
        return found
