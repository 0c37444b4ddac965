"""Devices and processes: the only file that knows torch.distributed, autocast and memory layouts.

One process is a World of size 1. Several are started by torchrun (one machine, many machines, SLURM) and average the
gradients of a player when its turn is over. Averaging by turn, not by wrapping networks, keeps replicas equal even where
two turns share one forward pass.
"""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from handmade.core import Batch, System
from handmade.errors import HandmadeError

CPU = torch.device("cpu")


@dataclass(frozen=True)
class World:
    """The processes that train together, seen from one of them."""

    rank: int = 0
    size: int = 1
    device: torch.device = CPU

    @property
    def leads(self) -> bool:
        """Whether this process writes the run folder and talks."""
        return self.rank == 0

    def average(self, tensors: list[Tensor]) -> None:
        """Replace each tensor by its mean over the processes, in one message."""
        if self.size == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        flat /= self.size
        for tensor, piece in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(piece.view_as(tensor))

    def agree(self, value: Any) -> Any:
        """Return the leader's value in every process: decisions that depend on clocks or signals."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def anyone(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        if self.size == 1:
            return flag
        told = torch.tensor(float(flag), device=self.device)
        dist.all_reduce(told, op=dist.ReduceOp.MAX)
        return bool(told)

    def wait(self) -> None:
        """Return when every process has come here."""
        if self.size > 1:
            dist.barrier()


def choose_device() -> torch.device:
    """CUDA where there is one (this process's own, by LOCAL_RANK), else Apple's MPS, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count())
    return torch.device("mps") if torch.backends.mps.is_available() else torch.device("cpu")


@contextlib.contextmanager
def open_world() -> Iterator[World]:
    """Join the processes that torchrun started, or be alone; leave them at the end."""
    device, size = choose_device(), int(os.environ.get("WORLD_SIZE", 1))
    if size == 1:
        yield World(device=device)
        return
    backend, own = "gloo", None
    if device.type == "cuda":
        torch.cuda.set_device(device)
        if int(os.environ.get("LOCAL_WORLD_SIZE", size)) <= torch.cuda.device_count():
            backend, own = "nccl", device  # it wants a GPU for each process; those that share one talk through the CPU
    dist.init_process_group(backend, timeout=timedelta(minutes=10), device_id=own)
    try:
        yield World(dist.get_rank(), size, device)
    except RuntimeError as error:
        if "onnection" not in str(error):
            raise
        raise HandmadeError(f"process {dist.get_rank()} of {size} lost the others: one of them has stopped") from None
    finally:
        dist.destroy_process_group()


def fork_random(device: torch.device) -> contextlib.AbstractContextManager[None]:
    """Put the random numbers of the CPU and of this process's GPU back at the end."""
    return torch.random.fork_rng([device] if device.type == "cuda" else [])


@contextlib.contextmanager
def threads_kept(now: int | None = None) -> Iterator[None]:
    """Give this process its number of threads back at the end; use `now` threads until then, or as many as are set."""
    threads = torch.get_num_threads()
    torch.set_num_threads(now or threads)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def place(batch: Batch, device: torch.device, channels_last: bool = False) -> Batch:
    """Move every tensor of a batch to the device; pictures take the layout that was chosen."""
    if isinstance(batch, Tensor):
        if channels_last and batch.ndim == 4 and batch.is_floating_point():
            return batch.to(device, non_blocking=True, memory_format=torch.channels_last)
        return batch.to(device, non_blocking=True)
    if isinstance(batch, dict):
        return {key: place(value, device, channels_last) for key, value in batch.items()}
    if isinstance(batch, tuple):
        parts = [place(value, device, channels_last) for value in batch]
        return type(batch)(*parts) if hasattr(batch, "_fields") else tuple(parts)
    return batch


def cut(batch: Batch, part: int, parts: int) -> Batch:
    """Part `part` of `parts` equal pieces of a batch along its first axis; what a batch leaves out stays out."""
    if parts == 1 or batch is None:
        return batch
    if isinstance(batch, Tensor):
        size = len(batch) // parts
        return batch[part * size : (part + 1) * size]
    if isinstance(batch, dict):
        return {key: cut(value, part, parts) for key, value in batch.items()}
    pieces = [cut(value, part, parts) for value in batch]
    return type(batch)(*pieces) if hasattr(batch, "_fields") else type(batch)(pieces)


def prepare(system: System, world: World, precision: str, channels_last: bool) -> None:
    """Put a system's networks on the device in the chosen layout, and let their forwards compute in bf16 if chosen.

    Only the forward of a direct child is cast: what it returns is float32 again, so every loss is computed in float32.
    """
    system.to(world.device)
    if channels_last:
        for module in system.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                module.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    if world.size > 1:
        _share_batch_statistics(system)
    if precision == "bf16":
        for child in system.children():
            child.forward = _in_bf16(child.forward, world.device.type)  # type: ignore[method-assign]


def compute_in(precision: str, system: System, device: torch.device) -> None:
    """Let a system that will be asked, and those that it borrows, compute in bf16; in float32 it does anyway."""
    if precision == "bf16":
        prepare(system, World(device=device), precision, channels_last=True)
        for lent in system.borrowed.values():
            compute_in(precision, lent, device)


def _in_bf16(forward: Callable[..., Any], device: str) -> Callable[..., Any]:
    @functools.wraps(forward)
    def cast(*args: Any, **kwargs: Any) -> Any:
        with torch.autocast(device, torch.bfloat16):
            out = forward(*args, **kwargs)
        return _float32(out)

    return cast


def _float32(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.float() if value.dtype == torch.bfloat16 else value
    if isinstance(value, tuple):
        parts = [_float32(item) for item in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    return value


@contextlib.contextmanager
def full_precision(system: System) -> Iterator[None]:
    """Compute in float32 for a while: samples and scores do not depend on how the run was trained."""
    fast = {child: vars(child).pop("forward") for child in system.children() if "forward" in vars(child)}
    try:
        yield
    finally:
        for child, forward in fast.items():
            child.forward = forward


def fuse(optimizer: torch.optim.Optimizer, device: torch.device, precision: str = "float32") -> None:
    """Let Adam update all weights in one kernel: 2.6 to 4 times faster on a CPU than the loop, where `foreach` is slower.

    An optimizer that makes products itself (it has a `precision`) makes them as the networks do.
    """
    if hasattr(optimizer, "precision"):
        optimizer.precision = precision  # type: ignore[attr-defined]
    if isinstance(optimizer, torch.optim.Adam | torch.optim.AdamW) and device.type in {"cpu", "cuda"}:
        for group in optimizer.param_groups:
            if not any(is_split(p) for p in group["params"]):
                group.update(fused=True, foreach=False)


class _MeanOverProcesses(torch.autograd.Function):
    """Mean over processes, with the gradient of a mean: the mean over processes of the gradients."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        out = values.clone()
        dist.all_reduce(out)
        return out / dist.get_world_size()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        out = gradient.clone()
        dist.all_reduce(out)
        return out / dist.get_world_size()


def _share_batch_statistics(system: System) -> None:
    """Let every BatchNorm see the statistics of the whole batch, as if one process held it."""
    for module in system.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.forward = functools.partial(_shared_batch_norm, module)  # type: ignore[method-assign]


def _shared_batch_norm(norm: nn.modules.batchnorm._BatchNorm, x: Tensor) -> Tensor:
    if not norm.training:
        return type(norm).forward(norm, x)
    axes, shape = [0, *range(2, x.ndim)], (1, -1, *[1] * (x.ndim - 2))
    wide = x.float()
    moments = _MeanOverProcesses.apply(torch.stack([wide.mean(axes), wide.square().mean(axes)]))
    mean, var = moments[0], (moments[1] - moments[0].square()).clamp(min=0)
    if norm.track_running_stats and norm.running_mean is not None and norm.running_var is not None:
        n = x.numel() / x.shape[1] * dist.get_world_size()
        rate = norm.momentum if norm.momentum is not None else 0.1
        with torch.no_grad():
            norm.running_mean.lerp_(mean, rate)
            norm.running_var.lerp_(var * n / (n - 1), rate)
            if norm.num_batches_tracked is not None:
                norm.num_batches_tracked += 1
    out = (wide - mean.view(shape)) * (var.view(shape) + norm.eps).rsqrt()
    if norm.affine:
        out = out * norm.weight.view(shape) + norm.bias.view(shape)
    return out.to(x.dtype)


def is_split(tensor: Tensor) -> bool:
    """Whether a tensor is split over the processes; asking does not load the module that splits, which takes long."""
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(tensor, module.DTensor)


def shard(system: System, world: World) -> None:
    """Split the weights of a single-player system over the processes (FSDP2, Zhao et al. 2023, arXiv 2304.11277)."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(world.device.type, (world.size,))
    for child in system.children():
        for block in _blocks(child):
            fully_shard(block, mesh=mesh)
        fully_shard(child, mesh=mesh)


def _blocks(network: nn.Module) -> Iterable[nn.Module]:
    """The repeated layers of a network, which are gathered one at a time."""
    for module in network.modules():
        if isinstance(module, nn.ModuleList):
            yield from module


def describe_machine(world: World) -> dict[str, Any]:
    """What a reader needs to judge a time: processor, cores, device, versions."""
    name = torch.cuda.get_device_name(world.device) if world.device.type == "cuda" else processor()
    return {
        "device": world.device.type,
        "name": name,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "processes": world.size,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": platform.system(),
    }


def processor() -> str:
    """The processor's name as the system states it."""
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
