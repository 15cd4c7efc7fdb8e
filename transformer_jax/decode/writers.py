"""Those who write one answer per prompt: a model alone, or behind a draft model."""

import dataclasses

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from transformer_jax import data as data_lib
from transformer_jax.batch import Batch
from transformer_jax.data.views.base import Prompt, View, views
from transformer_jax.decode import generate, speculative
from transformer_jax.decode.prompts import bucket, pad_prompts
from transformer_jax.decode.sampling import Sampling
from transformer_jax.decode.text import ends_of
from transformer_jax.errors import UserError
from transformer_jax.model.arch import Arch
from transformer_jax.model.family import families
from transformer_jax.train.evaluation import last_position, position_limit


@dataclasses.dataclass(frozen=True)
class Model:
    """A model with what makes texts into its tokens; its attention is the plain one, the fastest for single queries.

    Raises:
      UserError: if the family writes nothing.
    """

    arch: Arch
    params: dict
    tokenizer: data_lib.Tokenizer
    view: View
    heads: dict | None = None

    def __post_init__(self):
        if not families.lookup(self.arch.family).generates:
            raise UserError(
                f"model.family={self.arch.family!r} writes nothing token by token: its positions see what comes behind "
                "them; give a run of another family"
            )
        execution = dataclasses.replace(self.arch.execution, attention="plain", remat="none")
        object.__setattr__(self, "arch", dataclasses.replace(self.arch, execution=execution))

    @classmethod
    def of(cls, run) -> "Model":
        """Of a `LoadedRun`."""
        return cls(run.program.arch, run.params, run.tokenizer, views.build(run.config.data.view), run.heads)

    @property
    def marks(self):
        return self.view.marks(self.tokenizer)

    @property
    def eos(self) -> tuple[int, ...]:
        return ends_of(self.marks)

    @property
    def parts(self) -> bool:
        """Whether it was trained with the parts of examples."""
        return families.lookup(self.arch.family).reads_parts or self.view.has_parts

    def prompts(self, texts: list[str]) -> list[Prompt]:
        """What the model is given.

        Raises:
          UserError: if that is nothing.
        """
        found = [self.view.prompt(text, self.tokenizer) for text in texts]
        for text, prompt in zip(texts, found, strict=True):
            if not len(prompt.tokens_L) or (prompt.source_M is not None and not len(prompt.source_M)):
                raise UserError(f"prompt {text!r}: it has no tokens; give at least one")
        return found

    def fitting(self, texts: list[str], max_new: int) -> list[Prompt]:
        """`prompts`, of which none is too long for `max_new` tokens behind it."""
        found = self.prompts(texts)
        advice = f"shorten the prompt, or give fewer than max_new={max_new} tokens"
        self.check_lengths(found, max_new - 1, advice)  # the last token is not read
        return found

    def check_lengths(self, prompts: list[Prompt], more: int, advice: str) -> None:
        """Before the first answer, so that a long prompt at the end does not cost those before it.

        Args:
          more: how many tokens are read behind each prompt.
          advice: what else would do.

        Raises:
          UserError: if the model's positions are not defined that far.
        """
        longest = max(len(prompt.tokens_L) for prompt in prompts) + more
        longest = max([longest, *(len(prompt.source_M) for prompt in prompts if prompt.source_M is not None)])
        reason = position_limit(self.arch, longest)
        if reason:
            raise UserError(f"{reason}, and {longest} are asked for: {advice}")

    def rooms(self, prompts: list[Prompt], max_new: int) -> list[int]:
        """How many tokens can be written behind each, `max_new` at most; 0 where the prompt itself is too long."""
        limit = last_position(self.arch)
        if limit is None:
            return [max_new] * len(prompts)
        sources = [0 if prompt.source_M is None else len(prompt.source_M) for prompt in prompts]
        rooms = [min(max_new, limit - len(prompt.tokens_L) + 1) for prompt in prompts]  # the last token is not read
        return [max(0, room) if source <= limit else 0 for room, source in zip(rooms, sources, strict=True)]

    def batch(self, prompts: list[Prompt], rows: int) -> Batch:
        return pad_prompts(prompts, rows, parts=self.parts)


class Alone:
    """A model writes, a token per row and step."""

    def __init__(self, model: Model, sampling: Sampling, max_new: int):
        self._model, self._max_new = model, max_new
        self._given = dict(sampling=sampling, eos=model.eos, heads=model.heads)
        self._room = bucket(max_new)

    def prepare(self, texts: list[str]) -> list:
        """(prompt, tokens behind it at most) for each text."""
        return [(prompt, self._max_new) for prompt in self._model.fitting(texts, self._max_new)]

    def start(self, prompts: list, key_B, done_B):
        """The state behind the first token of each prompt; more rows than prompts repeat the first one."""
        limits = [limit for _, limit in prompts]
        limit_B = np.asarray([*limits, *limits[:1] * (len(done_B) - len(limits))], np.int32)
        batch = self._model.batch([prompt for prompt, _ in prompts], len(done_B))
        own = self._model.arch, self._model.params
        return generate.start(*own, batch, key_B, done_B, limit_B, room=self._room, **self._given)

    def advance(self, state, until: int):
        """The state with at least `until` tokens in each row that is not done."""
        own = self._model.arch, self._model.params
        return generate.advance(*own, state, np.int32(until), **self._given)


class Ahead:
    """A draft model writes a few tokens ahead of the model, which has the last word."""

    def __init__(self, model: Model, draft: Model, sampling: Sampling, max_new: int, window: int):
        self._both, self._limit, self._room = (model, draft), np.int32(max_new), bucket(max_new)
        arches, self._params = (model.arch, draft.arch), (model.params, draft.params)
        self._given = dict(
            arches=arches, sampling=sampling, window=window, eos=model.eos, heads=(model.heads, draft.heads)
        )

    def prepare(self, texts: list[str]) -> list:
        """A prompt of each model for each text."""
        both = [model.fitting(texts, int(self._limit)) for model in self._both]
        return list(zip(*both, strict=True))

    def start(self, prompts: list, key_B, done_B):
        each = zip(self._both, zip(*prompts, strict=True), strict=True)
        batches = tuple(model.batch(list(own), len(done_B)) for model, own in each)
        return speculative.start(
            params=self._params,
            prompts=batches,
            key_B=key_B,
            done_B=done_B,
            limit=self._limit,
            room=self._room,
            **self._given,
        )

    def advance(self, state, until: int):
        return speculative.advance(
            params=self._params, state=state, until=np.int32(until), limit=self._limit, **self._given
        )


def check_pair(model: Model, draft: Model) -> None:
    """Refuses two models that cannot decode together.

    Raises:
      UserError: with the reasons.
    """
    found = speculative.problems(model.arch, draft.arch)
    if model.tokenizer.sha256 != draft.tokenizer.sha256 or model.marks != draft.marks:
        found.append("the tokenizers differ: the same number would stand for different texts")
    if found:
        raise UserError("the draft model cannot be used: " + "; ".join(found))


def beside(draft: Model, mesh: Mesh) -> Model:
    """The draft model on the devices of another mesh, whole on each."""
    return dataclasses.replace(draft, params=jax.device_put(draft.params, NamedSharding(mesh, PartitionSpec())))


def end_rows(state, done_B):
    """The state with these rows done, too."""
    written = state.written
    return state.replace(written=written.replace(done_B=jax.numpy.asarray(done_B) | written.done_B))
