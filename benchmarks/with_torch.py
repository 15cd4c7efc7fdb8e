"""A train step around a peer's torch model; torch is imported here only."""

from collections.abc import Callable

import torch
from torch.nn import functional

from benchmarks.task import Task


def device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def start(task: Task) -> None:
    """To be called before a model is made: threads and seed."""
    torch.set_num_threads(task.threads)
    torch.manual_seed(task.seed)
    if device() == "cuda":
        torch.set_float32_matmul_precision("high")  # as nanoGPT has it


class Trainer:
    """`contest`'s entry of a torch model: zero_grad, forward, backward, clip, step.

    Args:
      loss: (model, batch) -> mean cross-entropy; a batch is one of `Task.batches`, as tensors of int64.
      compiled: whether `torch.compile` gets the model first.
    """

    compiling: dict[str, float] = {}  # noqa: RUF012, the first run tells it

    def __init__(self, task: Task, model: torch.nn.Module, loss: Callable, *, compiled: bool = False):
        model = model.to(device()).train()
        self._parameters = list({id(p): p for p in model.parameters()}.values())
        self.parameters = sum(p.numel() for p in self._parameters)
        self._optimizer = _optimizer(task, self._parameters)
        self._clip = task.optim["clip"]
        self._model, self._loss = torch.compile(model) if compiled else model, loss
        self._batches = [
            {name: torch.as_tensor(batch[name], dtype=torch.long, device=device()) for name in ("tokens", "targets")}
            for batch in task.batches()
        ]
        self._half = task.model["dtype"] == "bfloat16"

    def run(self):
        losses = []
        for batch in self._batches:
            self._optimizer.zero_grad(set_to_none=True)
            with torch.autocast(device(), torch.bfloat16, enabled=self._half):
                loss = self._loss(self._model, batch)
            loss.backward()
            if self._clip:
                torch.nn.utils.clip_grad_norm_(self._parameters, self._clip)
            self._optimizer.step()
            losses.append(loss.detach())
        wait()
        return losses

    def outcome(self, losses) -> dict:
        return {"loss": float(sum(losses)) / len(losses)}

    def device_peak(self) -> int | None:
        return device_peak()


class Decoder:
    """`contest`'s entry of a torch decoder.

    Args:
      write: prompts [B, P] -> the new tokens [B, T].
    """

    compiling: dict[str, float] = {}  # noqa: RUF012

    def __init__(self, task: Task, model: torch.nn.Module, write: Callable):
        self._task, self._write = task, write
        self.parameters = sum(p.numel() for p in {id(p): p for p in model.parameters()}.values())
        self._prompts = torch.as_tensor(task.prompts(), dtype=torch.long, device=device())
        self._half = task.model["dtype"] == "bfloat16"

    def run(self):
        with torch.inference_mode(), torch.autocast(device(), torch.bfloat16, enabled=self._half):
            return self._write(self._prompts).cpu()

    def outcome(self, tokens_BT) -> dict:
        return self._task.written(tokens_BT)

    def device_peak(self) -> int | None:
        return device_peak()


def cross_entropy(logits_BLV, targets_BL):
    """Mean over all positions."""
    return functional.cross_entropy(logits_BLV.flatten(0, 1), targets_BL.flatten())


def wait() -> None:
    """Until the device has done all that it was given."""
    if device() == "cuda":
        torch.cuda.synchronize()


def device_peak() -> int | None:
    """Bytes that the allocator has held at most."""
    return torch.cuda.max_memory_allocated() if device() == "cuda" else None


def _optimizer(task: Task, parameters: list) -> torch.optim.Optimizer:
    o = task.optim
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": o["weight_decay"]},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=o["learning_rate"], betas=(o["b1"], o["b2"]), eps=o["eps"], fused=True)
