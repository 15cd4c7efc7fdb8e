"""`steps_in_a_row`: how long the longest chain of operations that wait for one another is, in a compiled program."""

import re

from transformer_jax.plan import hlo

# Nothing is computed by these: they name, group or hand on what is there.
_FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "partition-id", "replica-id"}
_OPERAND = re.compile(r"%([\w.\-]+)")


def steps_in_a_row(hlo_text: str) -> int:
    """Operations that even a machine with endless cores must do one after another.

    An operation is what the compiler runs as one: a fused computation, a product of matrices, a reduction. Each waits
    for its operands. A loop takes as often as it runs what the longest chain of its body takes.

    Args:
      hlo_text: `compiled.as_text()`.

    Raises:
      ValueError: if that is no program.
      NotImplementedError: if it has a loop of which the text does not say how often it runs.
    """
    module = hlo.parse(hlo_text)
    return _Chain(module).of(module.entry)


class _Chain:
    """Goes through a module's computations, each once."""

    def __init__(self, module: hlo.Module):
        self._module, self._known = module, {}

    def of(self, name: str) -> int:
        """The longest chain of a computation."""
        if name not in self._known:
            done: dict[str, int] = {}
            for instruction in self._module.computations[name].values():  # operands come before what reads them
                before = max((done.get(each, 0) for each in _OPERAND.findall(instruction.operands)), default=0)
                done[instruction.name] = before + self._own(instruction)
            self._known[name] = max(done.values(), default=0)
        return self._known[name]

    def _own(self, instruction: hlo.Instruction) -> int:
        if instruction.opcode in _FREE:
            return 0
        if instruction.opcode == "while":
            times = self._module.trip_count(instruction)
            if times is None:
                raise NotImplementedError(
                    f"{instruction.name}: how often this loop runs cannot be read from the program"
                )
            body = re.search(r"\bbody=%?([\w.\-]+)", instruction.attributes)[1]
            return times * self.of(body)
        if instruction.opcode in ("call", "conditional"):
            return max((self.of(name) for name in instruction.called), default=1)
        return 1
