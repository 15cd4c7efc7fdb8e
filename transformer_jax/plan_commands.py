"""The command that says what a config needs on a machine: `python -m transformer_jax plan`."""

import json

from transformer_jax import config_file
from transformer_jax.errors import UserError


def plan(args, overrides) -> None:
    """Says what a config needs and can reach on a machine that need not be at hand; nothing is computed."""
    import jax

    jax.config.update("jax_platforms", "cpu")  # whatever this machine has is left alone
    from transformer_jax.plan.planning import plan as make
    from transformer_jax.plan.remedies import remedies
    from transformer_jax.plan.table import table

    config = config_file.load(args.config, overrides)
    found = make(config, args.machine, vocab=args.vocab, reserve=args.reserve)
    compiled = _compiled(config, found) if args.compile else None
    if args.json:
        told = found.as_dict() | ({} if compiled is None else {"compiled": compiled})
        print(json.dumps(told, indent=1))
    else:
        print(table(found))
        if compiled is not None:
            print("\n".join(_said(compiled)))
    if not found.best:
        why = "no mesh fits into memory" if found.counts["accepted"] else "no mesh divides what the config has"
        more = remedies(config, found.machine, found.vocab, args.reserve) if found.counts["accepted"] else ""
        more = more or "; ".join(found.refused)
        raise UserError(f"{args.config} on {args.machine}: {why}; {more}")


def _compiled(config, found) -> dict:
    """What the compiler says of the config's own mesh, or of the best one where that is refused."""
    from transformer_jax.plan.compiled import DoesNotFit, compile_apart

    chosen = found.own or next(iter(found.best), None)
    if chosen is None:
        return {"error": "there is no mesh to compile for"}
    try:
        done = compile_apart(config, chosen.mesh, found.machine.name, found.vocab)
    except DoesNotFit as error:
        return {"mesh": chosen.mesh, "error": str(error), "needed": error.needed, "available": error.available}
    sent: dict[str, dict[str, float]] = {}
    for each in done.collectives:
        kinds = sent.setdefault(" x ".join(each.axes) or "none", {})
        kinds[each.kind] = kinds.get(each.kind, 0.0) + each.bytes_in_all
    return {
        "mesh": chosen.mesh,
        "seconds": done.seconds,
        "memory": done.memory,
        "communication": sent,
        "notes": list(done.notes),
    }


def _said(compiled: dict) -> list[str]:
    from transformer_jax.plan.search import told
    from transformer_jax.plan.table import unit_of

    if "error" in compiled:
        return ["", f"compiled: {compiled['error']}"]
    memory = {name: size for name, size in compiled["memory"].items() if size}
    unit = unit_of(memory["total"])
    lines = [
        "",
        f"compiled for {told(compiled['mesh'])} in {compiled['seconds']:.0f} s; the compiler says, in {unit.name}:",
    ]
    lines += [f"  {name:24}{unit(size):>9}" for name, size in memory.items()]
    for axes, kinds in compiled["communication"].items():
        of = ", ".join(f"{kind} {unit(size)}" for kind, size in kinds.items() if unit.shows(size))
        lines.append(f"  {f'sent over {axes}':24}{unit(sum(kinds.values())):>9}  {of}")
    return lines + [f"  {note}" for note in compiled["notes"]]


def add(commands, command) -> None:
    """Adds `plan` to the parser.

    Args:
      commands: where.
      command: `(name, function, group) -> parser` that calls the function.
    """
    sub = command("plan", plan, commands)
    sub.add_argument("--config", required=True, metavar="FILE.py[:mode]", help="--config.a.b=value overrides a key")
    sub.add_argument("--machine", required=True, help="8xH100, v5e:16x16, v5p:4x4x4, 2xv5e:16x16, cpu:8, …")
    sub.add_argument("--vocab", type=int, help="vocabulary size; default: what the tokenizer is asked for")
    sub.add_argument("--reserve", type=float, default=0.1, help="share of memory that is left unused (0.1)")
    sub.add_argument("--compile", action="store_true", help="the compiler says memory and communication, too: minutes")
    sub.add_argument("--json", action="store_true", help="for programs: bytes, FLOPs and seconds")
    sub.set_defaults(overridable=True)
