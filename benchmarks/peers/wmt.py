"""Flax's example wmt, from its folder."""

from dataclasses import dataclass

from benchmarks.peers.base import FolderPeer, peers


@peers.register("wmt")
@dataclass(frozen=True, kw_only=True)
class Wmt(FolderPeer):
    """The encoder-decoder of Flax's translation example, in linen."""

    file = "models.py"
    families = ("encoder_decoder",)
    packages = ("jax", "jaxlib", "flax", "optax")

    def train(self):
        from flax import linen as nn

        from benchmarks import with_jax

        m, task, module = self.task.model, self.task, self.load()
        model = module.Transformer(
            module.TransformerConfig(
                vocab_size=task.vocab,
                output_vocab_size=task.vocab,
                share_embeddings=True,
                logits_via_embedding=m["tied_embeddings"],
                dtype=with_jax.DTYPES[m["dtype"]],
                emb_dim=m["width"],
                num_heads=m["heads"],
                num_layers=m["layers"],
                qkv_dim=m["width"],
                mlp_dim=m["ffn_size"],
                max_len=task.positions,
                dropout_rate=0.0,
                attention_dropout_rate=0.0,
                deterministic=True,
                posemb_init=nn.initializers.normal(stddev=0.02),
            )
        )
        batch = task.batches()[0]
        return with_jax.Trainer(
            task,
            lambda key: model.init(key, batch["source"], batch["targets"])["params"],
            # It shifts what it is given by one position itself, so it is given the targets.
            lambda params, batch: model.apply({"params": params}, batch["source"], batch["targets"]),
        )

    def differences(self):
        found = [] if self.task.activation == "ReLU" else [f"ReLU for {self.task.activation}"]
        found.append("no bias in attention" if self.task.model["bias"] else "biases in the feed-forward")
        if not self.task.model["tied_embeddings"]:
            found.append("bias of the output matrix")
        return found
