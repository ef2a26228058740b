"""The packages ``cellpose`` and ``torch``: what is in their way is told with its remedy."""

from __future__ import annotations

from typing import Any

from cellseg_backends.quiet import quiet
from cellseg_core.errors import MissingPackageError

__all__ = ["cellpose_models", "device_named"]


def cellpose_models() -> tuple[Any, Any]:
    """Return the modules ``cellpose.models`` and ``torch``.

    Raises
    ------
    MissingPackageError
        If they cannot be imported here; the message has the remedy.
    """
    try:
        # Packages that it uses warn of each other.
        with quiet():
            import torch
            from cellpose import models  # pyright: ignore[reportAttributeAccessIssue]
    except Exception as error:
        told = f"{type(error).__name__}: {str(error)[:300]}"
        if "torchvision" in told:
            raise MissingPackageError(
                f"Cellpose cannot be imported ({told}): torch and torchvision were built for "
                "different devices. Install both again for the same one, both for the CPU or both "
                "for one version of CUDA; or use cellpose 3, which needs no torchvision: pip "
                'install "cellpose>=3.1,<4"'
            ) from error
        raise MissingPackageError(
            f"Cellpose cannot be imported ({told}). Install it again, with torch, in a fresh "
            'environment: pip install "cellpose>=3.1,<4"'
        ) from error
    return models, torch


def device_named(wanted: str) -> Any:
    """Return where to compute, as torch has it.

    ``"auto"`` is a GPU if there is one, ``"cuda"`` before ``"mps"``, and the CPU otherwise.

    Raises
    ------
    MissingPackageError
        If there is no such device, or torch was built without it.
    """
    _, torch = cellpose_models()
    if wanted == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        torch.zeros(1, device=wanted)
        return torch.device(wanted)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise MissingPackageError(
            f"torch cannot compute on {wanted!r} here ({str(error)[:200]}). Leave the option "
            "'device' out for the best that there is, or give cpu. An NVIDIA GPU needs a torch "
            "that was built for CUDA: see pytorch.org."
        ) from error
