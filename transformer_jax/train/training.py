"""`Training`: the loop over updates of the runs that train together."""

import time

import jax

from transformer_jax.parallel import distributed
from transformer_jax.train import flops, rundir
from transformer_jax.train.checkpoint import common_step
from transformer_jax.train.evaluation import place_members
from transformer_jax.train.rewind import given_up, rewind_line
from transformer_jax.train.runs import AskedToStop, Runs, Score
from transformer_jax.train.shown import show
from transformer_jax.train.step import spikes_skipped

__all__ = ["Score", "Training"]


class Training(Runs):
    """Runs that are trained to their end, or until somebody asks to stop."""

    def start(self) -> None:
        """Opens the members' files, and makes the state or restores the newest step that all members have."""
        for member in self._members:  # read only now that they are locked: another process may have ended a run
            member.result = distributed.from_first(rundir.read_result, member.workdir)
        if not self._active:
            return
        for member in self._active:
            manifest = rundir.manifest(member.config, member.data, self._program.mesh, len(self._members))
            member.open(manifest | self._initial.manifest)
        step = common_step([member.checkpoints for member in self._active])
        for member in self._active:
            distributed.from_first(rundir.record_processes, member.workdir, step or 0)
        self._state = self._program.init(self._hyper)
        if step is None:
            for member in self._active:
                distributed.from_first(rundir.check_begun, member.workdir)
            self._state = self._initial.into(self._program, self._state)
            for line in self._initial.lines:
                distributed.say(line)
            if self._watches:  # so that there is something to go back to from the first update on
                self._save()
            return
        restored = {}
        for member in self._active:
            state, clock = member.restore(self._program.state_structs, step)
            restored[member.slot] = self._program.aside(state)
        self._clock.resume(clock)
        self._state = self._program.with_members(self._state, restored)
        self.step = step
        distributed.say(f"goes on from step {step}")

    def close(self) -> None:
        for member in self._members:
            member.close()

    def to_the_end(self) -> None:
        """Updates until the last one, or until no member is left, or a signal.

        Raises:
          Interrupted: after a signal; everything is saved.
        """
        try:
            self._updates()
        except AskedToStop:
            self._save_and_stop()

    def _updates(self) -> None:
        t, r = self._config.train, self._config.run
        if any(member.owes_evaluation for member in self._active):
            self._evaluate()
        self._finish([member for member in self._active if member.stopped_early])  # killed while they ended
        while self.step < t.steps and self._active:
            before = self.step
            self._dispatch(min(t.steps_per_dispatch, t.steps - self.step))
            if self._rewound(before):
                continue
            if self._crossed(before, r.log_every):
                self._log()
            if self._crossed(before, t.eval_every) and self._active:
                self._evaluate()
                self._finish([member for member in self._active if member.stopped_early])
            if self._stop.reached() and self._active:
                self._save_and_stop()
            if self._crossed(before, r.checkpoint_every) and self._active:
                self._save()
        if self._active:
            self._finish(self._active)

    def _crossed(self, before: int, every: int) -> bool:
        """Whether a multiple of `every`, or the end, was reached since `before`."""
        return self.step // every > before // every or self.step == self._config.train.steps

    @property
    def _watches(self) -> bool:
        """Whether spikes are looked for out here; then the run trains alone."""
        return any(member.watch is not None for member in self._active)

    def _spike(self) -> dict | None:
        """The first spike since updates were looked at last."""
        if not self._watches:
            return None
        self._pending = jax.device_get(self._pending)
        return self._active[0].watch.look(self._pending, self.step)

    def _rewound(self, before: int) -> bool:
        """Looks for a spike where a run may log, evaluate or save, and goes back to the checkpoint before it.

        Only there, so that a run that was stopped or killed in between comes to the same.
        """
        every = (self._config.run.log_every, self._config.train.eval_every, self._config.run.checkpoint_every)
        spike = self._spike() if any(self._crossed(before, each) for each in every) else None
        if spike is None:
            return False
        member, self._pending = self._active[0], []
        with self._clock.paused(), self._watchdog.slow("going back to a checkpoint"):
            jax.tree.map(lambda x: x.delete(), self._state)
            self._state, told = member.go_back(self._program.state_structs, spike)
        self._write(member, {"train/rewound_to": told["back_to"], "train/rewinds": len(member.watch.done)})
        distributed.say(rewind_line(told))
        self.step = told["back_to"]
        if lost := given_up(member.config, 0, 0, len(member.watch.done)):
            self._diverge(member, lost)
        return True

    def _save_and_stop(self) -> None:
        if self._spike() is None:  # else it would be undone, and the checkpoint before it is a good one
            self._save()
        raise self._stop.interrupted(f"stopped at step {self.step}; the same command resumes")

    def _dispatch(self, updates: int) -> None:
        began = time.monotonic()
        own = {member.slot: member.batches(updates) for member in self._active}
        batches_TBL = place_members(self._program, own, leading=1, share=self._share)
        if not (self._pending and _is_under_way(self._pending[-1].applied)):
            self._clock.waited += time.monotonic() - began
        if updates in self._compiled:
            self._watchdog.made("training")
            self._state, metrics = self._program.train(self._state, batches_TBL, self._hyper)
            self._watchdog.expect(metrics.applied)
            # The devices work for all slots, whether their runs have ended or not.
            self._clock.tokens += sum(member.read for member in self._active) * len(self._members) // len(own)
        else:  # compiled by this call, which is not training speed
            if self._stop.safe:
                self._stop.safe = "compiling the train step"
            with self._watchdog.slow("compiling the train step"):
                self._state, metrics = self._program.train(self._state, batches_TBL, self._hyper)
                jax.block_until_ready(metrics)
            self._compiled.add(updates)
            self._clock.restart()
        self._stop.safe = ""
        self._pending.append(metrics)
        self.step += updates

    def _log(self) -> None:
        """Fetches what the devices have counted, writes and shows it; ends members with too much skipped."""
        fetched, skipped, spikes = jax.device_get((self._pending, self._state.skipped, spikes_skipped(self._state)))
        self._pending = []
        self._clock.tokens = distributed.summed({"tokens": self._clock.tokens})["tokens"]
        speed = self._clock.lap()
        shared = {}
        if speed is not None:
            shared["train/tokens_per_second"] = speed / len(self._members)
            shared["train/waiting_for_data"] = self._clock.waiting
            utilisation = flops.utilisation(speed * self._flops_per_token)
            if utilisation is not None:
                shared["train/model_flops_utilisation"] = utilisation
        written = []
        for member in self._active:
            values = member.summary([self._program.of_member(each, member.slot) for each in fetched])
            values["train/skipped"] = lost = float(self._program.of_member(skipped, member.slot))
            left_out = float(self._program.of_member(spikes, member.slot))
            values |= {"train/spikes": left_out} if self._state.spikes is not None else {}
            applied = self.step - int(lost + left_out)  # a skipped update does not move the schedule
            schedule = float(self._program.schedule(applied - 1))
            values["train/learning_rate"] = schedule * member.config.optim.learning_rate
            values |= shared
            self._write(member, values)
            written.append(values)
        show(self._progress, self.step, written, speed)
        for member, values in zip(self._active, written, strict=True):
            if lost := given_up(member.config, values["train/skipped"], values.get("train/spikes", 0.0), 0):
                self._diverge(member, lost)
        self._clock.restart()  # writing is no training either


def _is_under_way(output: jax.Array) -> bool:
    """Whether the devices still work on it; never of what was fetched from them."""
    return isinstance(output, jax.Array) and not output.is_ready()
