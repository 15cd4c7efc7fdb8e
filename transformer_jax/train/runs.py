"""`Runs`: what runs that train together measure, save and end with."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property

import jax

from transformer_jax.batch import Batch
from transformer_jax.model.arch import Arch
from transformer_jax.parallel import distributed
from transformer_jax.train import flops
from transformer_jax.train.clock import Clock
from transformer_jax.train.evaluation import evaluate_members, evaluate_tests
from transformer_jax.train.hyper import Hyper
from transformer_jax.train.initial import Initial
from transformer_jax.train.member import Member
from transformer_jax.train.metrics import Progress
from transformer_jax.train.program import Program
from transformer_jax.train.shown import show
from transformer_jax.train.step import StepMetrics, spikes_skipped
from transformer_jax.train.stopping import Stop
from transformer_jax.train.watchdog import Watchdog

# (member, arch, params) -> metrics, measured once after the last update where a config asks for them.
Score = Callable[[Member, Arch, dict], dict[str, float]]


class AskedToStop(Exception):
    """In the middle of an evaluation."""


class Runs:
    """Runs in progress: their state on the devices, and the clock. What is one run's own is in `Member`."""

    def __init__(
        self,
        members: list[Member],
        compiled: Program,
        progress: Progress,
        initial: Initial,
        stop: Stop,
        watchdog: Watchdog,
        score: Score | None = None,
    ):
        self._members, self._program, self._progress = members, compiled, progress
        self._config = members[0].config  # of which only what all members share is read
        self._hyper = compiled.place([Hyper.from_config(member.config, compiled.arch) for member in members])
        self._initial, self._score, self._stop, self._watchdog = initial, score, stop, watchdog
        self._share = members[0].share
        self._clock = Clock()
        self._compiled: set[int] = set()  # numbers of updates per dispatch that have run in this process
        self._pending: list[StepMetrics] = []  # not logged yet, most of them still on the devices
        self._evaluating = False
        self.step = 0

    @property
    def _active(self) -> list[Member]:
        return [member for member in self._members if member.active]

    def _evaluate(self) -> None:
        jax.block_until_ready(self._state)  # updates under way are training time
        self._evaluating = True
        with self._clock.paused():
            batches = self._batches_of("valid", self._config.train.eval_batches)
            found = evaluate_members(self._program, self._eval_params, batches, self._hyper.heads, self._share)
            for member in self._active:
                member.evaluated(self.step, found[member.slot])
                self._write(member, member.last_eval[1])
            show(self._progress, self.step, [member.last_eval[1] for member in self._active])
        self._evaluating = False

    def _batches_of(self, split: str, limit: int) -> Iterator[Batch]:
        """The batches of a split, as long as nobody asks to stop."""
        rows = None if self._share is None else self._share.index_R
        return self._each(self._members[0].data.eval_batches(split, limit, rows))

    def _each(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        allowed = self._watchdog.slow_seconds  # the first one may have to be compiled for
        for batch in batches:
            if self._stop.reached():
                raise AskedToStop
            self._watchdog.made("evaluating", allowed)
            yield batch
            allowed = None
        self._watchdog.made("evaluating")

    @property
    def _eval_params(self):
        return self._state.params if self._state.ema is None else self._state.ema

    def _save(self, members: Sequence[Member] | None = None) -> None:
        """Checkpoints of the members. An old one goes only when all have the new one: they resume together."""
        members = self._active if members is None else members
        jax.block_until_ready(self._state)
        with self._clock.paused(), self._watchdog.slow("saving a checkpoint"):
            pending = jax.device_get(self._pending)
            state_of = self._program.member_states(self._state)
            for member in members:  # one after the other: orbax's savers do not run beside each other in threads
                own = [self._program.of_member(each, member.slot) for each in pending]
                member.save(self.step, state_of(member.slot), own, self._clock.state(), self._evaluating)
            if len(members) == len(self._active):
                for member in members:
                    member.checkpoints.prune()

    def _evaluate_tests(self) -> tuple[list[dict[str, float | None]], dict[str, str]]:
        """The metrics of the test split and of `data.tests` for every slot, and by set why one does not apply."""
        data, limit = self._members[0].data, self._config.train.test_batches
        names = [name.partition("/")[2] for name in self._active[0].last_eval[1]]
        args = self._program, self._eval_params, self._hyper.heads
        with self._clock.paused():
            values, reasons = evaluate_tests(*args[:2], data.tests, names, args[2], self._share, self._each)
            if limit:
                batches = self._batches_of("test", max(limit, 0))
                of_test = evaluate_members(*args[:2], batches, args[2], self._share)
                for own, found in zip(values, of_test, strict=True):
                    own |= {f"test/{name}": value for name, value in found.items()}
        for test, reason in reasons.items():
            distributed.say(f"{test} is not applicable: {reason}")
        return values, reasons

    def _answer(self, members: list[Member]) -> dict[int, dict[str, float]]:
        """By slot, how good the answers are that each member's model writes, if the config asks for them."""
        if not self._config.train.answers:
            return {member.slot: {} for member in members}
        doing = "writing answers"  # all is saved
        with self._clock.paused(), self._watchdog.paused(doing), self._stop.nothing_to_lose(doing):
            state_of = self._program.member_states(self._state)
            found = {}
            for member in members:
                state = state_of(member.slot)
                params = state.params if state.ema is None else state.ema
                found[member.slot] = self._score(member, self._program.arch, params)
        return found

    def _finish(self, members: list[Member]) -> None:
        """Ends members that came to their end."""
        if not members:
            return
        if any(member.last_eval is None or member.last_eval[0] != self.step for member in members):
            self._evaluate()
        self._save(members)
        good = [member for member in members if math.isfinite(member.last_eval[1]["valid/loss"])]
        values, reasons = self._evaluate_tests() if good else ([], {})
        answers = self._answer(good)
        for member in members:
            if member not in good:
                self._diverge(member, "its valid loss is not finite")
                continue
            tests = values[member.slot] | answers[member.slot]
            if tests:
                self._write(member, tests)
            member.finish(self._result(member, "finished", member.last_eval[1] | tests, reasons))
        if good:
            show(self._progress, self.step, [values[member.slot] | answers[member.slot] for member in good])

    def _diverge(self, member: Member, why: str) -> None:
        distributed.say(f"diverged at step {self.step}: {why}; {member.workdir.name}")
        member.finish(self._result(member, "diverged", {}, {}))

    def _result(self, member: Member, status: str, metrics: dict, reasons: dict) -> dict:
        speed, count = self._clock.median(), len(self._members)
        return {
            "status": status,
            "step": self.step,
            "stopped_early": member.stopped_early,
            "parameters": flops.count(self._program.param_shapes),
            "tokens_per_second": None if speed is None else speed / count,
            "seconds": self._clock.total / count,
            "members": count,
            "compile_seconds": self._program.compile_seconds,
            "memory_bytes": self._program.memory_bytes,
            "flops_per_token": self._flops_per_token,
            "counted": member.settle(),
            "skipped": int(self._program.of_member(jax.device_get(self._state.skipped), member.slot)),
            "spikes": int(self._program.of_member(jax.device_get(spikes_skipped(self._state)), member.slot)),
            "rewinds": [] if member.watch is None else member.watch.done,
            "metrics": metrics,
            "not_applicable": reasons,
        }

    @cached_property
    def _flops_per_token(self) -> float:
        d, arch = self._config.data, self._program.arch
        rows = d.batch_size // self._config.optim.accumulate
        return flops.flops_per_token(arch, self._program.boxed_params, d.length, d.source_length, rows=rows)

    def _write(self, member: Member, values: dict[str, float | None]) -> None:
        member.metrics.write(self.step, {"seconds": self._clock.total / len(self._members), **values})
