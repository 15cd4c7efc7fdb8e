"""A plan as text, for people."""

from dataclasses import dataclass

from transformer_jax.plan.machines import GIB
from transformer_jax.plan.memory import EITHER
from transformer_jax.plan.result import MeshPlan, Plan
from transformer_jax.plan.search import told

_NARROW = "  narrow shards"


@dataclass(frozen=True)
class Unit:
    """In which bytes are told."""

    name: str
    size: int

    def __call__(self, size: float) -> str:
        value = size / self.size
        return f"{value:,.0f}" if value >= 1000 else f"{value:.1f}" if value >= 10 else f"{value:.3f}"

    def shows(self, size: float) -> bool:
        """Whether it would not be told as 0."""
        return size >= 5e-4 * self.size


def unit_of(largest: float) -> Unit:
    """GiB, or MiB for what is small."""
    return Unit("GiB", GIB) if largest >= GIB else Unit("MiB", 2**20)


def table(plan: Plan) -> str:
    """All that was found, on several lines."""
    unit = unit_of(max((each.held.total for each in (plan.own, *plan.best) if each), default=0))
    lines = [*_head(plan), ""]
    if plan.own is None:
        lines += ["the config's mesh is refused:", *(f"  {line}" for line in plan.refused)]
    else:
        own = plan.own
        lines += [
            f"the config's mesh, {told(own.mesh)}",
            *_memory(plan, own, unit),
            "",
            *_sent(own, unit),
            *_bound(own),
        ]
    return "\n".join([*lines, "", *_best(plan, unit)])


def _head(plan: Plan) -> list[str]:
    machine, kind, per_update = plan.machine, plan.machine.kind, plan.flops
    memory = "" if kind.memory is None else f" with {kind.memory / GIB:.1f} GiB each"
    devices = "1 device" if machine.devices == 1 else f"{machine.devices} devices"
    trained = "" if plan.trained == plan.parameters else f", of which {plan.trained:,} are trained"
    executed = per_update["executed"]
    again = "" if executed == per_update["model"] else f", {_flops(executed)} with what is computed again"
    return [
        f"machine  {machine.text}: {devices}{memory}",
        f"model    {plan.parameters:,} parameters{trained}; vocabulary {plan.vocab:,}",
        f"update   {plan.tokens:,} tokens; {_flops(per_update['model'])}{again}",
        *(f"note     {note}" for note in plan.notes),
    ]


def _memory(plan: Plan, own: MeshPlan, unit: Unit) -> list[str]:
    lines = [f"  {'memory per device':24}{unit.name:>9}"]
    for name, size in own.held.parts.items():
        note = "  of logits and working the larger one counts" if name == EITHER[-1] else ""
        lines += [f"  {name:24}{unit(size):>9}{note}"] if unit.shows(size) else []
    total = f"  {'total':24}{unit(own.held.total):>9}"
    if plan.budget is None:
        return [*lines, total]
    verdict = "fits" if own.fits else "DOES NOT FIT"
    return [*lines, f"{total}  of {unit(plan.budget)}, with a reserve of {plan.reserve:.0%}: {verdict}"]


def _sent(own: MeshPlan, unit: Unit) -> list[str]:
    if not own.sent:
        return ["  nothing is sent between devices"]
    timed = own.bound is not None
    lines = [f"  {'sent per device':24}{unit.name:>9}" + (f"{'ms':>9}" if timed else "")]
    for axis, kinds in own.sent.items():
        time = f"{1e3 * own.bound.network[axis]:9.1f}" if timed else ""
        of = ", ".join(f"{kind} {unit(size)}" for kind, size in kinds.items() if unit.shows(size))
        lines.append(f"  {f'{axis} {own.mesh[axis]}':24}{unit(sum(kinds.values())):>9}{time}  {of}")
    return lines


def _bound(own: MeshPlan) -> list[str]:
    bound = own.bound
    if bound is None:
        return ["", "  no time is predicted: nothing is claimed of this machine's speed"]
    rows = {
        "bound": f"{_ms(bound.step)}  {bound.utilisation:.0%} of the peak (model FLOPs utilisation)",
        "matrix products": _ms(bound.compute),
        "memory": _ms(bound.memory),
        "all overlapped": _ms(bound.least),
        "no communication is": _ms(bound.most),
    }
    head = f"  {'time of an update':24}{'ms':>9}  bounds by data sheets, which no program reaches; not measured"
    return ["", head, *(f"  {name:24}{text}" for name, text in rows.items())]


def _best(plan: Plan, unit: Unit) -> list[str]:
    counts = plan.counts
    line = (
        f"{counts['of_devices']} meshes of {plan.machine.devices} devices: {counts['accepted']} divide what the config "
        f"has, {counts['fitting']} fit"
    )
    if not plan.best:
        return [line]
    held, sent = f"{unit.name} held", f"{unit.name} sent"
    lines = [line, f"  {'best':40}{held:>10}{sent:>10}{'ms':>9}{'of peak':>9}"]
    for each in plan.best:
        bytes_sent = sum(sum(kinds.values()) for kinds in each.sent.values())
        time = f"{_ms(each.bound.step)}{each.bound.utilisation:9.0%}" if each.bound else f"{'–':>9}{'–':>9}"
        narrow = _NARROW if each.narrow else ""
        lines.append(f"  {told(each.mesh):40}{unit(each.held.total):>10}{unit(bytes_sent):>10}{time}{narrow}")
    return lines


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:9.1f}"


def _flops(flops: float) -> str:
    for name, unit in (("PFLOP", 1e15), ("TFLOP", 1e12)):
        if flops >= unit:
            return f"{flops / unit:.2f} {name}"
    return f"{flops / 1e9:.2f} GFLOP"
