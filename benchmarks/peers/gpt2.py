"""transformers' GPT-2."""

from dataclasses import dataclass

from benchmarks.peers.base import Peer, peers


@peers.register("gpt2")
@dataclass(frozen=True, kw_only=True)
class GPT2(Peer):
    """GPT2LMHeadModel with random weights, in torch.

    Attributes:
      compiled: through torch.compile; training only.
      activation: its name there: gelu_new (its own, of several operations), gelu_pytorch_tanh (one), gelu, relu.
    """

    compiled: bool = False
    activation: str = "gelu_new"

    packages = ("torch", "transformers", "numpy")

    def problems(self):
        if self.compiled and self.task.kind == "decode":
            return [*super().problems(), "compiled=True is for training"]
        return super().problems()

    def model(self):
        """The torch module."""
        from transformers import GPT2Config, GPT2LMHeadModel

        from benchmarks import with_torch

        with_torch.start(self.task)
        m = self.task.model
        config = GPT2Config(
            vocab_size=self.task.vocab,
            n_positions=self.task.positions,
            n_embd=m["width"],
            n_layer=m["layers"],
            n_head=m["heads"],
            n_inner=m["ffn_size"],
            activation_function=self.activation,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=None,
            eos_token_id=None,
            pad_token_id=0,
            tie_word_embeddings=m["tied_embeddings"],
            attn_implementation="sdpa",
        )
        return GPT2LMHeadModel(config).to(with_torch.device())

    def train(self):
        from benchmarks import with_torch

        def loss(model, batch):
            logits_BLV = model(input_ids=batch["tokens"], use_cache=False).logits
            return with_torch.cross_entropy(logits_BLV, batch["targets"])

        return with_torch.Trainer(self.task, self.model(), loss, compiled=self.compiled)

    def decode(self):
        import torch

        from benchmarks import with_torch

        model, task = self.model().eval(), self.task

        def write(prompts_BP):
            written = model.generate(
                prompts_BP,
                attention_mask=torch.ones_like(prompts_BP),
                max_new_tokens=task.new,
                do_sample=False,
                use_cache=True,
                eos_token_id=None,
                pad_token_id=0,
            )
            return written[:, task.prompt :]

        return with_torch.Decoder(task, model, write)

    def differences(self):
        found = ["fused AdamW"] if self.task.kind == "train" else []
        kind = {"gelu": "exact GELU", "relu": "ReLU"}.get(self.activation, "tanh GELU")
        if kind != self.task.activation:
            found.append(f"{kind} for {self.task.activation}")
        if not self.task.model["bias"]:
            found.append("biases in all projections")
        return found
