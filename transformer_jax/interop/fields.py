"""`Fields`: a config.json as it is read, so that no field that changes the function is passed over."""

import json
from pathlib import Path

from transformer_jax.errors import UserError


def words(text: str) -> frozenset[str]:
    """Names of fields, separated by white space."""
    return frozenset(text.split())


# What says how a model is trained, stored, or asked, and not what it computes.
HARMLESS = words(
    """
    _name_or_path _num_labels architectures attention_dropout attention_probs_dropout_prob attn_pdrop activation_dropout
    bad_words_ids begin_suppress_tokens bos_token_id chunk_size_feed_forward classif_dropout classifier_dropout
    decoder_layerdrop decoder_start_token_id diversity_penalty do_sample dropout dropout_rate dtype early_stopping
    embd_pdrop encoder_layerdrop encoder_no_repeat_ngram_size eos_token_id exponential_decay_length_penalty
    finetuning_task forced_bos_token_id forced_eos_token_id gradient_checkpointing hidden_dropout hidden_dropout_prob
    id2label init_std initializer_factor initializer_range label2id length_penalty max_length min_length model_type
    no_repeat_ngram_size num_beam_groups num_beams num_labels num_return_sequences output_attentions
    output_hidden_states output_past output_scores pad_token_id prefix pretraining_tp remove_invalid_values
    repetition_penalty resid_pdrop return_dict return_dict_in_generate sep_token_id suppress_tokens
    task_specific_params temperature tf_legacy_loss tokenizer_class top_k top_p torch_dtype torchscript
    transformers_version typical_p unk_token_id use_bfloat16 use_cache
    """
)
_REQUIRED = object()


class Fields:
    """The fields of a config.json.

    Attributes:
      problems: what was refused so far, a line each.
    """

    def __init__(self, values: dict):
        self._values, self._seen = values, set()
        self.problems: list[str] = []

    def take(self, *names: str, default=_REQUIRED):
        """The value of the first of `names` (one field has several in old files) that is there and not null.

        Raises:
          UserError: if there is none, and no default.
        """
        self._seen |= set(names)
        for name in names:
            if self._values.get(name) is not None:
                return self._values[name]
        if default is _REQUIRED:
            raise UserError(f"config.json has no field {names[0]!r}")
        return default

    def only(self, name: str, *accepted, default=_REQUIRED):
        """The value of a field, of which only some are supported; another one is a problem. Null is the default."""
        value = self.take(name, default=accepted[0] if default is _REQUIRED else default)
        if value not in accepted:
            self.refuse(name, value, " or ".join(map(repr, accepted)))
            return accepted[0]
        return value

    def choose(self, name: str, table: dict, default=_REQUIRED):
        """What `table` has for the value of a field; another value is a problem."""
        value = self.take(name, default=default)
        if not isinstance(value, str) or value not in table:
            self.refuse(name, value, ", ".join(map(repr, table)))
            return next(iter(table.values()))
        return table[value]

    def refuse(self, name: str, value, accepted: str) -> None:
        """Notes a problem."""
        self.problems.append(f"config.json: {name}={value!r} is not supported; accepted: {accepted}")

    def check(self, ignored: frozenset[str]) -> None:
        """Refuses what was found, and every field that nobody has read.

        Args:
          ignored: fields that change nothing.

        Raises:
          UserError: naming each field, its value and what is accepted.
        """
        unread = [n for n, v in self._values.items() if n not in self._seen | HARMLESS | ignored and v is not None]
        found = self.problems + [
            f"config.json: {name}={self._values[name]!r} is not known, and may change what the model computes; "
            f"accepted: none, or --ignore={name} if it changes nothing"
            for name in unread
        ]
        if found:
            raise UserError("\n".join(found))


def read_json(path: Path) -> dict:
    """An object of a JSON file.

    Raises:
      UserError: if it is none.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path.parent} holds no {path.name}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise UserError(f"{path} is no JSON object")
    return found
