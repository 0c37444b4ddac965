"""A device that is not the CPU, for machines without one: what is moved there meets nothing that was left behind.

Within `Elsewhere()`, what is moved `to(THERE)` and all that is made of it behave as on a GPU but for the arithmetic, which is
done on the CPU: an operation that gets numbers of both places raises, as it does there. A single number of the CPU may join
in, and so may places that index what is elsewhere.
"""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

THERE = torch.device("meta")  # the one name of a device that torch knows everywhere and never asks for a driver
aten = torch.ops.aten
BOTH = {aten.copy_.default, aten.set_.source_Tensor}  # move numbers from place to place
INDEX = {aten.index.Tensor, aten.index_put_.default, aten._index_put_impl_.default}


class There(torch.Tensor):
    """A tensor whose numbers lie in `here`, and which says that they lie elsewhere."""

    here: torch.Tensor

    @staticmethod
    def __new__(cls, here: torch.Tensor) -> There:
        made = torch.Tensor._make_wrapper_subclass(
            cls, here.shape, here.stride(), here.storage_offset(), dtype=here.dtype, device=THERE
        )
        made.here = here
        return made

    def tolist(self):
        return self.here.tolist()

    def __format__(self, how):
        return format(self.here, how)

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return run(func, args, kwargs or {})


class Elsewhere(TorchDispatchMode):
    """Makes tensors elsewhere where they are asked for there."""

    def __enter__(self):
        """What torch makes without an operation is made on the CPU and moved, and of the CPU it is asked what it runs in."""
        tensor, autocast, enabled = torch.tensor, torch.autocast, torch.is_autocast_enabled

        def made(*data, device=None, **options):
            return tensor(*data, **options) if device is None else tensor(*data, **options).to(device)

        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(torch, "tensor", made)
        self.patch.setattr(There, "new_tensor", lambda x, data: made(data, dtype=x.dtype, device=THERE), raising=False)
        self.patch.setattr(torch, "autocast", lambda kind, **how: autocast("cpu" if kind == "meta" else kind, **how))
        self.patch.setattr(torch, "is_autocast_enabled", lambda kind="cpu": kind != "meta" and enabled(kind))
        return super().__enter__()

    def __exit__(self, *error):
        self.patch.undo()
        super().__exit__(*error)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return run(func, args, kwargs or {})


def run(func, args, kwargs):
    """One operation: all in one place, or the error that torch raises."""
    given = [each for each in tree_leaves((args, kwargs)) if isinstance(each, torch.Tensor)]
    there = [each for each in given if isinstance(each, There)]
    here = [each for each in given if not isinstance(each, There) and each.ndim]
    first_there = func in INDEX and isinstance(args[0], There)
    if there and here and func not in BOTH and not first_there:
        raise RuntimeError(f"{func}: expected all tensors to be on the same device, but found two")
    stays = bool(there)
    if (asked := kwargs.get("device")) is not None:
        stays, kwargs = torch.device(asked).type == THERE.type, {**kwargs, "device": torch.device("cpu")}
    args, kwargs, first = *tree_map(lambda x: x.here if isinstance(x, There) else x, (args, kwargs)), args[:1]
    made = func(*args, **kwargs)
    if func._schema.is_mutable and first:
        return first[0]
    return tree_map(lambda x: There(x) if isinstance(x, torch.Tensor) else x, made) if stays else made
