"""What the forward of a live module takes, whoever wrapped it."""

from __future__ import annotations

import inspect

import torch


def forward_signature(module: torch.nn.Module) -> inspect.Signature:
    """Return the signature of a module's forward as it is called."""
    signature = inspect.signature(module.forward)
    parameters = list(signature.parameters.values())
    # What nnsight puts in a forward's place claims the signature of the function, with the module in front.
    if parameters and parameters[0].name == "self":
        parameters = parameters[1:]
    return signature.replace(parameters=parameters)
