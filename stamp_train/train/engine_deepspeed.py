"""ZeRO by DeepSpeed, behind accelerate's interface: weights, gradients and moments in shards of its making.

accelerate's own way to it is passed over: that does not exist without a GPU, takes one optimizer for a whole run, and
moves the weights in its backward pass, before anyone has looked at the loss.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from accelerate import Accelerator
from torch import distributed, nn

from stamp_schemas import UsageFault
from stamp_train.sequence.inputs import Outputs

_MOMENTS = ("exp_avg", "exp_avg_sq")  # of AdamW


class ZeroAccelerator(Accelerator):  # type: ignore[misc]  # accelerate has no types
    """The processes of a run whose steps are DeepSpeed's. Its layers are in the precision that it casts weights to."""

    def distribute(self, network: nn.Module, optimizer: torch.optim.Optimizer, settings: dict[str, Any]) -> nn.Module:
        """Lay a network over the processes, in place; what is returned is called in its stead.

        optimizer: AdamW over all weights that are trained. settings: DeepSpeed's configuration. UsageFault: DeepSpeed does not
        take it.
        """
        deepspeed = _quiet_deepspeed(self.device)
        trained = [weight for weight in network.parameters() if weight.requires_grad]
        whole = [weight.detach() for weight in trained]
        try:
            alone = _group_of_one(self.device) if self.num_processes == 1 else contextlib.nullcontext()
            with alone, contextlib.redirect_stdout(sys.stderr):
                self.engine, *_ = deepspeed.initialize(
                    model=_Seen(network), optimizer=optimizer, config=settings, dist_init_required=False
                )
        except (AssertionError, ValueError, deepspeed.DeepSpeedConfigError) as fault:
            raise UsageFault(f"deepspeed: {' '.join(str(fault).split())}") from None
        self.engine.set_gradient_accumulation_boundary(True)
        if any(weight.dtype != value.dtype for weight, value in zip(trained, whole, strict=True)):
            # It began with the float32 weights behind its layers as copies of theirs, which have lost digits.
            for weight, value in zip(trained, whole, strict=True):
                deepspeed.utils.safe_set_full_fp32_param(weight, value.to(self.device))
        self.optimizer = ZeroOptimizer(self.engine.optimizer, trained)
        return _Called(self.engine)

    @contextlib.contextmanager
    def no_sync(self, *_: Any) -> Iterator[None]:
        """Passes in here are not the last one of their step."""
        self.engine.set_gradient_accumulation_boundary(False)
        try:
            yield
        finally:
            self.engine.set_gradient_accumulation_boundary(True)

    def backward(self, loss: torch.Tensor, **_: Any) -> None:
        """Gradients of a loss, and their sums over the processes as the stage has it."""
        self.engine.backward(loss)

    def clip_grad_norm_(self, *_: Any) -> torch.Tensor:
        """The whole step, which DeepSpeed does not take apart: clip as it was configured to, move, forget gradients.

        The norm before clipping. If that is not finite, weights may be lost as well.
        """
        self.engine.step()
        return torch.as_tensor(self.engine.get_global_grad_norm())


class ZeroOptimizer:
    """The optimizer within a DeepSpeed engine, as torch's AdamW over whole weights: so are the states that it gives and takes.

    zero: DeepSpeed's wrapper around it. weights: all that it moves, in the order of the network.
    """

    def __init__(self, zero: Any, weights: list[nn.Parameter]) -> None:
        self._zero = zero
        self._adamw = zero.optimizer
        self._weights = weights

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """One group; its learning rate may be set."""
        groups: list[dict[str, Any]] = self._adamw.param_groups
        return groups

    @property
    def state(self) -> dict[Any, dict[str, Any]]:
        """Of the flat shares of this process."""
        state: dict[Any, dict[str, Any]] = self._adamw.state
        return state

    def step(self) -> None:
        """Nothing is left to do: see `ZeroAccelerator.clip_grad_norm_`."""

    def zero_grad(self) -> None:
        """As `step`."""

    def forget(self) -> None:
        """Begin anew: no moments, no steps."""
        for moments in self.state.values():
            for value in moments.values():
                value.zero_()

    def state_dict(self) -> dict[str, Any]:
        """As of torch's AdamW, with a `Shard` for every whole tensor."""
        (group,) = self.param_groups
        settings = {name: value for name, value in group.items() if name != "params"}
        steps = next(iter(self.state.values()))["step"]
        state = {
            number: {"step": steps.clone(), **{name: Shard(weight, name) for name in _MOMENTS}}
            for number, weight in enumerate(self._weights)
        }
        return {"state": state, "param_groups": [{**settings, "params": list(range(len(self._weights)))}]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take this process's share of whole moments; settings stay."""
        from deepspeed.utils import safe_set_full_optimizer_state

        state = state_dict["state"]
        self._allocate(max(float(moments["step"]) for moments in state.values()))
        for number, weight in enumerate(self._weights):
            for name in _MOMENTS:
                safe_set_full_optimizer_state(weight, state[number][name].to(weight.device), name)

    def _allocate(self, steps: float) -> None:
        """What AdamW itself would make in its first step."""
        flat = getattr(self._zero, "fp32_partitioned_groups_flat", None)  # stage 3 shows its groups to AdamW in turn
        for share in flat or [share for group in self.param_groups for share in group["params"]]:
            done = torch.full((), steps, device=share.device)
            self.state[share] = {"step": done, **{name: torch.zeros_like(share) for name in _MOMENTS}}
        if flat is None:
            self._zero._lazy_init_hp_params_optimizer_state()  # stages 1 and 2 look states up by weight after their first step


class Shard:
    """A tensor that the processes hold shares of: a moment of a weight, or the float32 weight itself where none is named."""

    def __init__(self, weight: nn.Parameter, moment: str = "") -> None:
        self.weight = weight
        self.moment = moment

    def full_tensor(self) -> torch.Tensor:
        """Gather it; all processes have to call this."""
        from deepspeed.runtime.zero import GatheredParameters
        from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

        if self.moment:
            found = safe_get_full_optimizer_state(self.weight, self.moment)
        elif self.weight.requires_grad:
            found = safe_get_full_fp32_param(self.weight)
        else:  # frozen, so there is none behind it
            with GatheredParameters([self.weight]):
                found = self.weight.detach().clone()
        whole: torch.Tensor = found
        return whole


def shards_of(network: nn.Module) -> dict[str, Any]:
    """The state of a network that `ZeroAccelerator` has laid over processes: a `Shard` for every weight, once if it is tied."""
    shards = {id(weight): Shard(weight) for weight in network.parameters()}
    return {name: shards.get(id(value), value) for name, value in network.state_dict(keep_vars=True).items()}


class _Seen(nn.Module):
    """A network whose output is a dict, in which DeepSpeed finds the tensors that it watches."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, **given: Any) -> dict[str, Any]:
        return dict(vars(self.network(**given)))


class _Called(nn.Module):
    """An engine that gives what the network within would."""

    def __init__(self, engine: nn.Module) -> None:
        super().__init__()
        self.engine = engine

    def forward(self, **given: Any) -> Outputs:
        return Outputs(**self.engine(**given))


@contextlib.contextmanager
def _group_of_one(device: torch.device) -> Iterator[None]:
    """What DeepSpeed wants to find when it begins, for a process alone, which may still offload."""
    if not distributed.is_initialized():
        backend = "gloo" if device.type == "cpu" else "nccl"
        distributed.init_process_group(backend, store=distributed.HashStore(), rank=0, world_size=1)  # type: ignore[attr-defined]  # not in its stub
    started = "LOCAL_RANK" in os.environ
    os.environ.setdefault("LOCAL_RANK", "0")
    try:
        yield
    finally:
        if not started:
            del os.environ["LOCAL_RANK"]  # it says that torchrun has started us


def _quiet_deepspeed(device: torch.device) -> Any:
    """DeepSpeed for a device, its messages on stderr."""
    os.environ.setdefault("DS_ACCELERATOR", device.type)
    import deepspeed

    logger = logging.getLogger("DeepSpeed")
    # Modules that give `Outputs` have no weights of their own, which are all that it would watch them for.
    logger.addFilter(lambda record: "unknown inputs or outputs type" not in record.getMessage())
    for handler in logger.handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setStream(sys.stderr)
    warnings.filterwarnings("ignore", r"`torch\.distributed\.\w+` is deprecated", FutureWarning)
    if device.type == "cpu":
        # Gloo will do. Their own transport is compiled on first use, where a build that was killed leaves a lock behind that
        # all later runs wait for.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    return deepspeed
