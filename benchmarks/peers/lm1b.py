"""Flax's example lm1b, from its folder."""

from dataclasses import dataclass

from benchmarks.peers.base import FolderPeer, peers


@peers.register("lm1b")
@dataclass(frozen=True, kw_only=True)
class Lm1b(FolderPeer):
    """The decoder-only Transformer of Flax's language model example, in linen; its own sampler decodes."""

    file = "models.py"
    packages = ("jax", "jaxlib", "flax", "optax")

    def problems(self):
        found = super().problems()
        if self.task.kind == "decode" and self.task.rows > 1:
            found.append(f"--rows={self.task.rows}: its sampler takes one row; give --rows=1")
        return found

    def config(self, module, **given):
        """Its TransformerConfig at the task's sizes."""
        from flax import linen as nn

        from benchmarks import with_jax

        m, task = self.task.model, self.task
        return module.TransformerConfig(
            vocab_size=task.vocab,
            output_vocab_size=task.vocab,
            share_embeddings=m["tied_embeddings"],
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
            **given,
        )

    def train(self):
        from flax.core import meta

        from benchmarks import with_jax

        module = self.load()
        model, tokens_BL = module.TransformerLM(self.config(module)), self.task.batches()[0]["tokens"]
        return with_jax.Trainer(
            self.task,
            lambda key: meta.unbox(model.init(key, tokens_BL)["params"]),
            # It shifts what it is given by one position itself, so it is given the targets.
            lambda params, batch: model.apply({"params": params}, batch["targets"]),
        )

    def decode(self):
        from functools import partial

        import jax
        import jax.numpy as jnp
        from flax.core import meta

        from benchmarks import with_jax

        module, sampler, task = self.load(), self.load("temperature_sampler.py"), self.task
        longest = task.prompt + task.new
        model = module.TransformerLM(self.config(module, decode=True))
        shape = jnp.ones((task.rows, longest), jnp.int32)
        made = meta.unbox(jax.jit(model.init)(jax.random.key(task.seed), shape))

        @jax.jit
        def write(params, cache, prompts_BP):
            def logits(tokens_B1, cache):
                logits_B1V, new = model.apply({"params": params, "cache": cache}, tokens_B1, mutable=["cache"])
                return logits_B1V.squeeze(1), new["cache"]

            rows_BL = jnp.pad(prompts_BP, ((0, 0), (0, task.new)))
            # The likeliest token is the only one of topk=1; no token ends an answer.
            written_BL = sampler.temperature_sample(rows_BL, cache, logits, jax.random.key(0), topk=1, eos_token=-1)
            return written_BL[:, task.prompt :]

        return with_jax.Decoder(task, made["params"], partial(write, made["params"], made["cache"]))

    def differences(self):
        found = [] if self.task.activation == "ReLU" else [f"ReLU for {self.task.activation}"]
        if self.task.model["bias"]:
            found.append("no bias in attention")
        else:
            found.append("biases in the feed-forward")
        if self.task.kind == "decode":
            found.append("reads the prompt token by token")
        if not self.task.model["tied_embeddings"]:
            found.append("bias of the output matrix")
        return found
