"""How weights, gradients and moments lie over the processes of a run: copied (DDP) or in shards (FSDP2, DeepSpeed).

Whichever it is, a checkpoint holds whole tensors, so a run may go on with another engine or another number of processes.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, InitProcessGroupKwargs
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from stamp_schemas import StampError
from stamp_schemas.errors import first_line
from stamp_schemas.recipe import Recipe
from stamp_train.recipes.deepspeed import deepspeed_config
from stamp_train.train.optimizer import make_optimizer

_LEAST = 1800.0  # seconds that a collective may take: the main process may write to slow storage meanwhile


def open_accelerator(recipe: Recipe) -> Accelerator:
    """The processes of a run. One that hangs is noticed by `Heartbeat`; only what that misses runs into the time limit."""
    limit = timedelta(seconds=max(_LEAST, 2 * recipe.patience))
    # Buffers are the same everywhere and stay so: sending them at every pass would cost what a codec weighs.
    handlers = [InitProcessGroupKwargs(timeout=limit), DistributedDataParallelKwargs(broadcast_buffers=False)]
    options = {"cpu": not torch.cuda.is_available(), "kwargs_handlers": handlers}
    if recipe.engine == "deepspeed":
        from stamp_train.train.engine_deepspeed import ZeroAccelerator

        return ZeroAccelerator(mixed_precision="no", **options)  # it casts weights itself
    return Accelerator(mixed_precision="bf16" if recipe.model.precision == "bf16" else "no", **options)


def distribute(accelerator: Accelerator, network: Any, recipe: Recipe) -> Any:
    """Lay a network over the processes, in place; what is returned is called in its stead.

    accelerate's own FSDP is passed over in silence where there is no GPU, so shards are torch's.
    """
    if accelerator.device.type == "cpu" and accelerator.mixed_precision == "bf16":
        # PyTorch's fused kernel takes twice as long as its parts in bfloat16 on CPUs, for what images fit there.
        network.set_attn_implementation({"vision_config": "eager"})
    if recipe.engine == "deepspeed":
        return accelerator.distribute(network, make_optimizer(recipe, network), deepspeed_config(recipe))
    if recipe.engine == "ddp" or accelerator.num_processes == 1:
        return accelerator.prepare(network.to(accelerator.device))
    _shard(network, accelerator, reshard=recipe.engine == "fsdp")
    return network


def _shard(network: Any, accelerator: Accelerator, *, reshard: bool) -> None:
    """Cut every weight along its first dimension. reshard: layers gather theirs once more for the backward pass."""
    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    half = accelerator.mixed_precision == "bf16"
    # Gradients of ranks are summed in float32, as in DDP.
    policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32) if half else MixedPrecisionPolicy()
    layers = set(network._no_split_modules)
    for module in network.modules():
        if type(module).__name__ in layers:
            fully_shard(module, mesh=mesh, reshard_after_forward=reshard, mp_policy=policy)
    fully_shard(network, mesh=mesh, reshard_after_forward=False, mp_policy=policy)


def in_shards(network: Any) -> bool:
    """Whether the weights of a network are in shards."""
    return isinstance(network, FSDPModule)


def weights_of(network: Any, recipe: Recipe) -> dict[str, Any]:
    """The state of a network; what is in shards has a method `full_tensor`, which all processes have to call."""
    if recipe.engine == "deepspeed":
        from stamp_train.train.engine_deepspeed import shards_of

        return shards_of(network)
    return dict(network.state_dict(keep_vars=True))


def new_optimizer(accelerator: Accelerator, network: Any, recipe: Recipe) -> Any:
    """The optimizer of a stage, which knows of no step before. DeepSpeed has one for the whole run, which forgets."""
    if recipe.engine == "deepspeed":
        accelerator.optimizer.forget()
        return accelerator.optimizer
    return make_optimizer(recipe, network)


def load_moments(optimizer: torch.optim.Optimizer, state: dict[str, Any], where: str = "") -> None:
    """Put the whole tensors of a checkpoint into an optimizer, in shards where its weights are in shards.

    Its settings stay those of the recipe: a run may go on with others than it began with. where: the checkpoint, for messages.
    StampError: the moments are of other weights.
    """
    settings = [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]
    try:
        optimizer.load_state_dict(state)
        _check_moments(optimizer)
    except (ValueError, TypeError, LookupError, AttributeError) as fault:
        hint = "go on with the recipe that it was written with, or from an earlier checkpoint"
        told = f"{where}: the moments are not of these weights and this optimizer: {first_line(fault)}"
        raise StampError(told, hint) from fault
    for group, own in zip(optimizer.param_groups, settings, strict=True):
        group.update(own)
    for weight, moments in optimizer.state.items():
        for name, value in moments.items():
            if isinstance(weight, DTensor) and value.shape == weight.shape:
                moments[name] = distribute_tensor(value, weight.device_mesh, weight.placements, src_data_rank=None)


def _check_moments(optimizer: torch.optim.Optimizer) -> None:
    """ValueError unless each moment is a number or has the shape of its weight."""
    for weight, moments in optimizer.state.items():
        for name, value in moments.items():
            shape = tuple(getattr(value, "shape", ()))
            if isinstance(weight, torch.nn.Parameter) and shape not in ((), tuple(weight.shape)):
                raise ValueError(f"{name} of shape {shape} for a weight of shape {tuple(weight.shape)}")
