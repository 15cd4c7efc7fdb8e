"""Claims of the literature that a study puts to the test."""

import re
from dataclasses import dataclass

from transformer_jax.errors import UserError

BETTER_THAN, EQUAL_TO = ">", "="


@dataclass(frozen=True)
class Claim:
    """`left` is better than `right` ('>'), or differs from it by less than the goal's margin ('=').

    Attributes:
      left, right: labels of variants.
      relation: '>' or '='.
      source: who says so, and where.
      metric: of one of the study's goals; the primary one if None.
    """

    left: str
    relation: str
    right: str
    source: str
    metric: str | None = None

    def __str__(self) -> str:
        return f"{self.left} {self.relation} {self.right}"


def claim(text: str, *, source: str, metric: str | None = None) -> Claim:
    """A claim from text: `claim('none > rope', source='Kazemnejad et al. 2023, fig. 2', metric='2x/accuracy')`.

    Raises:
      UserError: if the text is not of the form 'A > B' or 'A = B', or there is no source.
    """
    match = re.fullmatch(r"\s*(\S.*?)\s+([>=])\s+(\S.*?)\s*", text)
    if not match:
        raise UserError(
            f"claim {text!r}: give 'A > B' (A is better) or 'A = B' (they do not differ), labels of variants"
        )
    if not source.strip():
        raise UserError(f"claim {text!r}: give its source")
    return Claim(match[1], match[2], match[3], source, metric)
