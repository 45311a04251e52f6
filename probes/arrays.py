"""What every probe takes for numbers: tensors of torch, arrays of NumPy, and whatever else exchanges its memory.

Activations recorded with another tool need no conversion: JAX, CuPy and others hand out their memory by DLPack
(https://dmlc.github.io/dlpack/latest/), where it is, in its dtype. A list is
refused: it has no dtype, and rounding belongs to one.
"""

from __future__ import annotations

from typing import Any, Protocol, overload

import numpy as np
import torch
from torch import Tensor


class DLPackArray(Protocol):
    """Anything that hands out its memory by DLPack."""

    def __dlpack__(self) -> Any:
        """Return a capsule that holds the memory."""
        ...

    def __dlpack_device__(self) -> tuple[Any, Any]:
        """Return where the memory is."""
        ...


ArrayLike = Tensor | np.ndarray[Any, Any] | DLPackArray
"""A tensor, a NumPy array, or anything with ``__dlpack__``."""


@overload
def as_tensor(array: ArrayLike) -> Tensor: ...
@overload
def as_tensor(array: None) -> None: ...
def as_tensor(array: ArrayLike | None) -> Tensor | None:
    """Return a tensor of the same numbers, in the same memory wherever torch can; None stays None.

    Args:
        array: A tensor, which is returned itself; a NumPy array; or anything with ``__dlpack__``.

    Raises:
        TypeError: If it is something else, or torch has no such dtype.
    """
    if array is None or isinstance(array, Tensor):
        return array
    try:
        if isinstance(array, np.ndarray | np.generic):
            return _of_numpy(np.asarray(array))
        if hasattr(array, "__dlpack__"):
            return torch.from_dlpack(array)
    except (TypeError, ValueError, RuntimeError, BufferError) as error:
        raise TypeError(
            f"torch cannot take {_called(array)} for a tensor ({error}): cast it first"
        ) from error
    raise TypeError(
        f"expected a tensor, a NumPy array or anything with __dlpack__, got {_called(array)}: give numpy.asarray(…) "
        "of it, with the dtype that the numbers were computed in"
    )


def as_tensors(*arrays: ArrayLike) -> tuple[Tensor, ...]:
    """Return each of several arrays `as_tensor`."""
    return tuple(map(as_tensor, arrays))


def hold_tensors(result: Any, *names: str) -> None:
    """Make tensors of what a frozen dataclass was given for some of its fields, from its ``__post_init__``."""
    for name in names:
        object.__setattr__(result, name, as_tensor(getattr(result, name)))


def _of_numpy(array: np.ndarray[Any, Any]) -> Tensor:
    native = array.dtype.newbyteorder("=")
    # What torch cannot share is copied: memory that is read only or runs backwards, bytes in another order.
    if not array.flags.writeable or any(stride < 0 for stride in array.strides) or array.dtype != native:
        array = array.astype(native, order="C")
    return torch.from_numpy(array)


def _called(array: object) -> str:
    kind = type(array)
    of = f" of {array.dtype}" if hasattr(array, "dtype") else ""  # type: ignore[attr-defined]
    return (
        f"a {kind.__name__}{of}"
        if kind.__module__ == "builtins"
        else f"a {kind.__module__}.{kind.__name__}{of}"
    )
