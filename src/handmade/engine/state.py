"""A trainer's whole memory as tensors and plain values: nothing is pickled, and nothing is forgotten.

`pack` splits any nest of containers into JSON values and named tensors; `unpack` puts it together again. Tensors that are
split over processes (FSDP2) are packed piece by piece, so that every process writes only what it holds.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.overrides import TorchFunctionMode

from handmade.engine.devices import is_split
from handmade.engine.memory import give_back
from handmade.weights import Stored


def pack(tree: Any, tensors: dict[str, Tensor], path: str = "") -> Any:
    """Return `tree` as JSON values; every tensor or array in it goes into `tensors` and leaves its name behind.

    Raises TypeError for anything that is neither a tensor, an array, a container nor a plain value.
    """
    if isinstance(tree, Tensor | np.ndarray):
        tensors[path] = torch.as_tensor(tree)
        return {"$": "array" if isinstance(tree, np.ndarray) else "tensor", "name": path}
    if isinstance(tree, Mapping):
        items = [[k if isinstance(k, int) else str(k), pack(v, tensors, f"{path}/{k}")] for k, v in tree.items()]
        return {"$": "map", "items": items}
    if isinstance(tree, list | tuple):
        items = [pack(value, tensors, f"{path}/{index}") for index, value in enumerate(tree)]
        return {"$": "tuple" if isinstance(tree, tuple) else "list", "items": items}
    if isinstance(tree, np.generic):
        return tree.item()
    if tree is None or isinstance(tree, bool | int | float | str):
        return tree
    raise TypeError(f"state {path} holds a {type(tree).__name__}, which is neither a tensor nor a plain value")


def unpack(packed: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Undo `pack`."""
    if not isinstance(packed, dict):
        return packed
    match packed["$"]:
        case "tensor":
            return tensors[packed["name"]]
        case "array":
            return tensors[packed["name"]].numpy()
        case "map":
            return {key: unpack(value, tensors) for key, value in packed["items"]}
        case "tuple":
            return tuple(unpack(value, tensors) for value in packed["items"])
        case _:
            return [unpack(value, tensors) for value in packed["items"]]


def seed_all(seed: int) -> None:
    """Let every random generator that training may draw from start anew."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


def random_state() -> dict[str, Any]:
    """Every random generator that training may draw from."""
    state = {"torch": torch.get_rng_state(), "numpy": np.random.get_state(), "python": random.getstate()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: Mapping[str, Any]) -> None:
    """Take back what `random_state` returned."""
    torch.set_rng_state(state["torch"].cpu())
    np.random.set_state(state["numpy"])
    random.setstate(state["python"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"].cpu())


@torch.no_grad()
def copy_into(live: Iterable[tuple[str, Tensor]], saved: Mapping[str, Tensor]) -> list[str]:
    """Copy saved tensors into live ones of the same name and shape; return a line for each that does not fit."""
    wrong = []
    for name, target in live:
        if name not in saved:
            wrong.append(f"{name} is missing")
        elif saved[name].shape != target.shape:
            wrong.append(f"{name} is {tuple(saved[name].shape)}, not {tuple(target.shape)}")
        else:
            target.copy_(split_like(saved[name], target))
    return wrong


class _Undrawn(TorchFunctionMode):
    """Numbers are not drawn: without memory there are none, and torch would load 800 modules for it."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in {"normal_", "uniform_"}:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


@contextlib.contextmanager
def without_memory() -> Iterator[None]:
    """Tensors made inside have shapes and kinds, but no numbers."""
    with _Undrawn(), torch.device("meta"):
        yield


def put_into(system: nn.Module, lying: Mapping[str, Stored], pack: bool = True) -> list[str]:
    """Let a system that has no memory yet use tensors where they lie; return a line for each that does not fit.

    pack: layers that can pack their weights for the CPU do so at once, the largest first, and let go of the file
    """
    live, wrong = system.state_dict(), []
    for name, target in live.items():
        if name not in lying:
            wrong.append(f"{name} is missing")
        elif (lying[name].shape, lying[name].dtype) != (tuple(target.shape), target.dtype):
            wrong.append(f"{name} is {lying[name].shape} {lying[name].dtype}, not {tuple(target.shape)} {target.dtype}")
    if not wrong:
        system.load_state_dict({name: lying[name].read() for name in live}, assign=True)
        packing = [module for module in system.modules() if pack and hasattr(module, "pack")]
        for module in sorted(packing, key=lambda module: -sum(buffer.numel() for buffer in module.buffers())):
            module.pack()  # type: ignore[operator]
            give_back()
    return wrong


def split_like(full: Tensor, target: Tensor) -> Tensor:
    """Split a whole tensor over the processes as `target` is split; a plain target takes it whole."""
    if not is_split(target) or full.shape != target.shape:
        return full
    from torch.distributed.tensor import DTensor, distribute_tensor

    like: DTensor = target  # type: ignore[assignment]
    return distribute_tensor(full.to(like.device), like.device_mesh, like.placements)


def load_optimizer(optimizer: Optimizer, state: dict[str, Any]) -> None:
    """Give an optimizer its memory back; moments are split as the parameters are."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for index, moments in state["state"].items():
        state["state"][index] = {
            key: split_like(value, parameters[index]) if isinstance(value, Tensor) else value
            for key, value in moments.items()
        }
    optimizer.load_state_dict(state)
