"""`Task`: what all contestants do, at the sizes of one config; and which configs have peers at all."""

import zlib
from dataclasses import dataclass

import numpy as np

from transformer_jax.registry import parse_spec

# Specs that a plain Transformer has, each with the arguments that may be set; key -> name -> arguments.
_PLAIN = {
    "model.family": {"decoder_only": (), "encoder_decoder": ()},
    "model.position": {"learned": ("length",)},
    "model.residual": {"pre": ()},
    "model.mixer": {"mha": ()},
    "model.encoder_mixer": {"mha": ()},
    "model.cross_mixer": {"mha": ()},
    "model.ffn": {"gelu": ("approximate",), "relu": ()},
    "model.norm": {"layernorm": ("eps",)},
    "model.embedding": {"scaled": (), "plain": ("std",)},
    "model.embedding_norm": {"none": ()},
    "model.head": {"linear": ()},
    "model.adapter": {"none": ()},
    "optim.schedule": {"constant": ()},
    "train.spikes": {"keep": ()},
}
_VALUES = {
    "model.head_mask": "",
    "model.vocab_multiple": 1,
    "model.dropout": 0.0,
    "objective.z_loss": 0.0,
    "objective.label_smoothing": 0.0,
    "optim.warmup_steps": 0,
    "optim.accumulate": 1,
    "optim.trains": "",
    "optim.ema": 0.0,
    "train.init_from": "",
}


@dataclass(frozen=True)
class Task:
    """What is timed, ready for JSON.

    Attributes:
      kind: 'train' (`updates` updates are a repeat) or 'decode' (`new` tokens behind `prompt` random ones are).
      config: of our model, complete; the sizes of all models are read from it.
      vocab: V; `lowest` is the first token that is drawn, those below are special.
      rows: of a batch.
      threads: that each contestant may use.
    """

    kind: str
    config: dict
    vocab: int
    lowest: int
    rows: int
    updates: int = 1
    prompt: int = 0
    new: int = 0
    threads: int = 1
    seed: int = 0

    @property
    def model(self) -> dict:
        """The config's section."""
        return self.config["model"]

    @property
    def optim(self) -> dict:
        """The config's section."""
        return self.config["optim"]

    @property
    def family(self) -> str:
        return self.model["family"]

    @property
    def length(self) -> int:
        return self.config["data"]["length"]

    @property
    def source_length(self) -> int:
        """0 where nothing reads a source."""
        return self.config["data"]["source_length"] if self.family == "encoder_decoder" else 0

    @property
    def positions(self) -> int:
        """Rows of the table of learned positions."""
        given = dict(parse_spec(self.model["position"])[1]).get("length")
        return given or max(self.length, self.source_length)

    @property
    def activation(self) -> str:
        """Of the feed-forward, in words."""
        name, arguments = parse_spec(self.model["ffn"])
        exact = not dict(arguments).get("approximate", True)
        return {"gelu": "exact GELU" if exact else "tanh GELU", "relu": "ReLU"}[name]

    @property
    def tokens(self) -> int:
        """That a repeat reads (train) or writes (decode)."""
        if self.kind == "decode":
            return self.rows * self.new
        return self.updates * self.rows * (self.length + self.source_length)

    def batches(self) -> list[dict[str, np.ndarray]]:
        """As many as a repeat has updates: int32 arrays `tokens` and `targets` [B, L], and `source` [B, M]."""
        rng = np.random.default_rng([self.seed, 0])
        found = []
        for _ in range(self.updates):
            rows_BL = rng.integers(self.lowest, self.vocab, (self.rows, self.length + 1), dtype=np.int32)
            batch = {"tokens": rows_BL[:, :-1], "targets": rows_BL[:, 1:]}
            if self.source_length:
                shape = (self.rows, self.source_length)
                batch["source"] = rng.integers(self.lowest, self.vocab, shape, dtype=np.int32)
            found.append({name: np.ascontiguousarray(array) for name, array in batch.items()})
        return found

    def prompts(self) -> np.ndarray:
        """int32 [B, P]."""
        rng = np.random.default_rng([self.seed, 1])
        return rng.integers(self.lowest, self.vocab, (self.rows, self.prompt), dtype=np.int32)

    def checksum(self) -> int:
        """Of the random tokens, which must be the same for all."""
        arrays = [self.prompts()] if self.kind == "decode" else [a for batch in self.batches() for a in batch.values()]
        total = 0
        for array in arrays:
            total = zlib.crc32(array.tobytes(), total)
        return total

    def written(self, tokens_BT) -> dict:
        """The shape of an answer, for `Entry.outcome`.

        Raises:
          RuntimeError: if it is not what was asked for.
        """
        wanted, least, most = (self.rows, self.new), int(tokens_BT.min()), int(tokens_BT.max())
        if tuple(tokens_BT.shape) != wanted or not 0 <= least <= most < self.vocab:
            raise RuntimeError(f"wrote {tuple(tokens_BT.shape)}, tokens {least} to {most}; asked for {wanted}")
        return {"tokens": list(wanted)}

    def problems(self) -> list[str]:
        """Why the config has no peers, a sentence for each key."""
        found, skipped = [], ("optim.", "objective.", "train.") if self.kind == "decode" else ()
        for key, known in _PLAIN.items():
            section, leaf = key.split(".")
            if key.startswith(skipped):
                continue
            name, arguments = parse_spec(self.config[section][leaf])
            if name not in known or any(argument not in known[name] for argument, _ in arguments):
                found.append(f"{key}={self.config[section][leaf]!r}: peers have {' or '.join(known)}")
        for key, value in _VALUES.items():
            section, leaf = key.split(".")
            if self.config[section][leaf] != value and not key.startswith(skipped):
                found.append(f"{key}={self.config[section][leaf]!r}: peers have {value!r}")
        m = self.model
        if m["head_size"] not in (None, m["width"] / m["heads"]):
            found.append(f"model.head_size={m['head_size']}: peers have model.width / model.heads")
        if m["encoder_layers"] != m["layers"] and self.source_length:
            found.append(
                f"model.encoder_layers={m['encoder_layers']}: peers have as many as model.layers={m['layers']}"
            )
        if self.kind == "decode" and self.source_length:
            found.append(f"model.family={self.family!r}: decoding is compared for 'decoder_only'")
        if self.kind == "decode" and not found and self.prompt + self.new > self.positions:
            longest = self.prompt + self.new
            found.append(
                f"model.position={m['position']!r} ends at {self.positions}, and {self.prompt} + {self.new} tokens are "
                f"{longest}: give learned(length={longest}) or more"
            )
        return found
