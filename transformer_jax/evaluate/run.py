"""`evaluate`: a run directory and a split in, what the model reaches out, each beside something trivial."""

from pathlib import Path

from transformer_jax import data as data_lib
from transformer_jax.decode.generator import Generator, load_run
from transformer_jax.evaluate.ngram import ngram_losses
from transformer_jax.evaluate.text import corpus_scores
from transformer_jax.train import rundir
from transformer_jax.train.evaluation import evaluate_loss


def evaluate_run(workdir: Path, split: str, *, limit: int, max_new: int) -> dict[str, object]:
    """Losses of a split, and for pairs the scores of greedy answers.

    Args:
      limit: pairs to answer at most, from the start of the split; 0 is all.
      max_new: tokens per answer at most.

    Returns:
      `losses`: 'model', 'unigram', 'bigram' -> loss and bits_per_byte. For pairs also `pairs` (how many),
      `scores`: 'model' and 'copy' (of the source) -> as `corpus_scores` gives them, and `samples`.

    Raises:
      UserError: if it is no run directory, holds no checkpoint that verifies, or its data has changed.
    """
    run = load_run(workdir)
    data = data_lib.load(run.config.data, run.config.seed)
    rundir.check_data(Path(workdir), data.identity)
    losses = {
        "model": evaluate_loss(run.program, run.params, data.eval_batches(split), run.heads),
        **ngram_losses(data, split),
    }
    result: dict[str, object] = {"split": split, "step": run.step, "losses": losses}
    if data.corpus.kind != "pairs":
        return result
    pairs = list(data.examples(split))[: limit or None]
    sources, references = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    answers = Generator.of(run).complete(sources, max_new=max_new)
    samples = [dict(source=s, reference=r, answer=a) for s, r, a in zip(sources, references, answers, strict=True)]
    scores = {"model": corpus_scores(answers, references), "copy": corpus_scores(sources, references)}
    return result | {"pairs": len(pairs), "scores": scores, "samples": samples[:5]}
