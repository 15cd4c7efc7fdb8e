"""What a position scheme may do."""


class Scheme:
    """Does nothing; a scheme overrides the methods it needs."""

    def __init__(self, args, arch, stack_params, layer_params, causal):
        self.args, self.arch, self.stack, self.layer, self.causal = args, arch, stack_params, layer_params, causal

    def embed(self, x, positions):
        """x_LD with positions added."""
        return x

    def bias(self, qpos, kpos):
        """HLM on the logits, or 0."""
        return 0

    def query(self, q, positions, length):
        """q_LHK; `length` is that of the whole row."""
        return q

    def key(self, k, positions, length):
        return k

    def scores(self, q, k, qpos, kpos, allowed):
        """HLM on the logits, from q_LHK and k_MHK before any scaling, or 0."""
        return 0

    def values(self, weights, qpos, kpos):
        """LHK to be added to the heads' outputs, from weights_HLM, or 0."""
        return 0
