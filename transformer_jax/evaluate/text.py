"""Generated texts held against references: exact match, BLEU and chrF, each beside a trivial baseline."""

from collections.abc import Sequence

from transformer_jax.errors import UserError


def exact_match(answers: Sequence[str], references: Sequence[str]) -> float:
    """The share of answers that equal their reference, white space at the ends aside."""
    hits = sum(a.strip() == r.strip() for a, r in zip(answers, references, strict=True))
    return hits / max(len(references), 1)


def corpus_scores(answers: Sequence[str], references: Sequence[str]) -> dict[str, float | str]:
    """Corpus BLEU and chrF in [0, 100] by sacrebleu (Post 2018), with their signatures, and exact match.

    Raises:
      UserError: if sacrebleu is not installed.
    """
    try:
        from sacrebleu.metrics import BLEU, CHRF
    except ImportError:
        raise UserError('BLEU and chrF need sacrebleu: pip install "transformer_jax[translate]"') from None
    bleu, chrf = BLEU(), CHRF()
    scores: dict[str, float | str] = {"exact_match": exact_match(answers, references)}
    scores["bleu"] = bleu.corpus_score(list(answers), [list(references)]).score
    scores["chrf"] = chrf.corpus_score(list(answers), [list(references)]).score
    scores["bleu_signature"], scores["chrf_signature"] = str(bleu.get_signature()), str(chrf.get_signature())
    return scores
