"""`evaluate`: a run directory and a split in, every number that the split allows out."""

from pathlib import Path

from transformer_jax import data as data_lib
from transformer_jax.decode.generator import Generator
from transformer_jax.errors import UserError
from transformer_jax.evaluate.text import corpus_scores
from transformer_jax.train import rundir


def evaluate_texts(workdir: Path, split: str, *, limit: int, max_new: int) -> dict[str, object]:
    """Greedy answers to the pairs of a split, scored, beside the scores of copying the source.

    Args:
      limit: pairs at most, from the start of the split; 0 is all.
      max_new: tokens per answer at most.

    Returns:
      `model` and `copy` (scores as `corpus_scores` gives them), `pairs`, and `samples` (source, reference,
      answer).

    Raises:
      UserError: if the run's corpus has no pairs.
    """
    config = rundir.read_config(Path(workdir))
    data = data_lib.load(config.data, config.seed)
    if data.corpus.kind != "pairs":
        raise UserError(f"data.corpus={config.data.corpus!r} has no pairs to answer; its loss is in result.json")
    pairs = list(data.examples(split))[: limit or None]
    sources, references = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    answers = Generator.from_run(workdir).complete(sources, max_new=max_new)
    samples = [dict(source=s, reference=r, answer=a) for s, r, a in zip(sources, references, answers, strict=True)]
    return {
        "split": split,
        "pairs": len(pairs),
        "model": corpus_scores(answers, references),
        "copy": corpus_scores(sources, references),
        "samples": samples[:5],
    }
