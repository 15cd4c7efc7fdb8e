"""Pre-norm."""

from transformer_jax.model.residual.base import PreNorm, residuals


@residuals.register("pre")
class Pre(PreNorm):
    """x + f(N(x)), and N at the end of the stack (Xiong et al. 2020, arXiv 2002.04745, table 1)."""

    cost = "1 norm per sublayer and 1 at the end"
