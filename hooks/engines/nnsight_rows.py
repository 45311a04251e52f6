"""What leaves a trace: the wanted rows, taken while the model runs.

These functions run where the model runs. On a server there is no ``iclprobe``, so nnsight sends their source, and
they stand on torch alone: what they are given are plain containers, tensors and nnsight's own handles.
"""

from __future__ import annotations

from typing import Any

import torch


def read_answer(found: dict[Any, Any], envoy: Any, reading: dict[str, Any]) -> None:
    """Keep the logits of the wanted tokens, keys and values where they stay here, and what ran more than once.

    Args:
        found: What leaves the trace.
        envoy: nnsight's handle of the whole model.
        reading: ``keep``, the token positions whose logits are wanted, or None; ``cache``, whether keys and values
            are; ``places``, by nnsight's names the layer and site of all that is read besides.
    """
    counts, places = envoy.interleaver.counts, reading["places"]
    before = {place: counts.get(place, 0) for place in places}
    output = envoy.output
    # nnsight serves the first time alone, and says nothing of a second.
    found["twice"] = [places[place] for place in places if counts.get(place, 0) - before[place] > 1]
    logits, keep = output.logits, reading["keep"]
    # An architecture that cannot choose gave all.
    if keep is not None and logits.shape[1] != len(keep):
        logits = logits[:, keep.to(logits.device)]
    found["logits"] = logits.detach()
    if reading["cache"]:
        # transformers renamed keys and values in 5.24.
        found["cache"] = output.cache if hasattr(output, "cache") else output.past_key_values


def read_module(found: dict[Any, Any], envoy: Any, reading: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Keep rows of what a module is given or returns.

    Args:
        found: What leaves the trace.
        envoy: nnsight's handle of the module.
        reading: ``site`` and ``layer``; ``given``, whether it is the input; ``stream``, which of several is read.
        wanted: ``rows`` ``[B, P]``, and how many ``tokens`` run.
    """
    if reading["given"]:
        args, kwargs = envoy.inputs
        value = args[0] if args else kwargs.get("hidden_states")
    else:
        value = envoy.output
        value = value[0] if isinstance(value, (tuple, list)) else value
    if reading["stream"] is not None:
        value = value[reading["stream"]]
    rows = wanted["rows"]
    # OPT's MLP sees all tokens of the batch in one axis.
    value = value.reshape(len(rows), -1, value.shape[-1])
    keep_rows(found, reading["site"], reading["layer"], value, wanted)


def read_attention(
    found: dict[Any, Any], envoy: Any, reading: dict[str, Any], wanted: dict[str, Any]
) -> None:
    """Keep rows of what an attention module multiplies, and of what its softmax is given and returns.

    Args:
        found: What leaves the trace.
        envoy: nnsight's handle of the attention module.
        reading: The ``layer``. Of nnsight's labels of operations the ``call`` of a function that attends, if there is
            one, the ``softmax``, the ``sinks`` that are joined to its input, if there are some, and the ``product``
            of queries and keys, if that is the score, with ``scaled``, whether the call's scaling belongs to it. Of
            sites the ``vectors`` (of queries, keys and values) and ``rows`` (of scores and pattern) that are kept.
            And ``maybe``, whether the softmax is one of several, of which one runs.
        wanted: ``rows`` ``[B, P]``, which of them are ``real``, how many ``tokens`` run behind how many of the
            ``past``, how many columns (``width``), and the ``lowest`` score of a key that may be seen.
    """
    source, layer, kwargs, vectors, with_sinks = envoy.source, reading["layer"], {}, [], False
    if reading["call"]:
        if reading["call"] not in source.names:
            found["missing"].append((layer, reading["call"], list(source.names)))
            return
        call = getattr(source, reading["call"])
        args, kwargs = call.inputs
        # The registry's functions are given their module first; a method has it bound.
        vectors = [each for each in args if isinstance(each, torch.Tensor)]
        vectors += [kwargs[name] for name in ("query", "key", "value") if name in kwargs]
        for site, value in zip(("queries", "keys", "values"), vectors, strict=False):
            if site in reading["vectors"]:
                # Keys and values of cached tokens stand in front.
                own = value[:, :, -wanted["tokens"] :].transpose(1, 2)
                keep_rows(found, site, layer, own, wanted)
        if not reading["rows"]:
            return
        # Some families have sinks in some layers.
        with_sinks = kwargs.get("s_aux") is not None
        if with_sinks and not reading["sinks"]:
            found["behind"].append(layer)
        source = call.source
    joined = reading["sinks"] if with_sinks else ""
    labels = [label for label in (reading["product"], joined, reading["softmax"]) if label]
    missing = [label for label in labels if label not in source.names]
    if missing:
        found["missing"].append((layer, missing[0], list(source.names)))
        return
    shown: dict[str, Any] = {"sinks": None}
    try:
        if reading["product"]:
            shown["kept"] = getattr(source, reading["product"]).output
        if joined:
            (shown["scores"], shown["sinks"], *_), *_ = getattr(source, joined).inputs[0]
        else:
            shown["scores"] = getattr(source, reading["softmax"]).input
        shown["pattern"] = getattr(source, reading["softmax"]).output
    except Exception as error:
        # What nnsight raises in a reader whose operation never ran.
        if reading["maybe"] and type(error).__name__ == "OutOfOrderError":
            return
        raise
    if reading["scaled"]:
        scaling = kwargs.get("scaling")
        shown["kept"] = shown["kept"] * (vectors[0].shape[-1] ** -0.5 if scaling is None else scaling)
    keep_scores(found, reading, shown, wanted)


def keep_rows(found: dict[Any, Any], site: str, layer: int, value: Any, wanted: dict[str, Any]) -> None:
    """Keep the wanted rows of ``[B, S, …]`` in fp32, once."""
    if value.shape[1] != wanted["tokens"]:
        found["odd"].append((layer, site, value.shape[1]))
        return
    rows = wanted["rows"].to(value.device)
    batch = torch.arange(len(rows), device=value.device)[:, None]
    found[site, layer] = value.detach()[batch, rows].float().cpu()


def keep_scores(
    found: dict[Any, Any], reading: dict[str, Any], shown: dict[str, Any], wanted: dict[str, Any]
) -> None:
    """Keep the wanted rows and columns of the softmax, and how far its output is from the softmax of its input.

    Args:
        found: What leaves the trace.
        reading: As in `read_attention`.
        shown: ``scores``, the softmax's input without sinks, ``[B, H, S, K]`` or ``[B * H, S, K]``; ``pattern``, its
            output; ``sinks``, what is joined to the scores, ``[B, H, S, 1]``, or None; and perhaps what is ``kept``
            in place of the scores.
        wanted: As in `read_attention`.
    """
    layer, scores = reading["layer"], shown["scores"]
    rows = wanted["rows"].to(scores.device)
    batch = torch.arange(len(rows), device=scores.device)[:, None]
    keys = scores.shape[-1]

    def taken(tensor: Any) -> Any:
        tensor = tensor.detach().reshape(len(rows), -1, *tensor.shape[-2:])
        return tensor[batch, :, rows].float()

    kept = taken(shown.get("kept", scores))
    scores, pattern = taken(scores), taken(shown["pattern"])[..., :keys]
    low = scores <= wanted["lowest"]
    # A row that sees nothing (padding) has a pattern all the same.
    hidden = low & ((pattern == 0) | low.all(dim=-1, keepdim=True))
    visible = ~hidden.all(dim=2, keepdim=True)
    logits = scores.masked_fill(~visible, float("-inf"))
    largest = logits.amax(dim=-1, keepdim=True)
    if shown["sinks"] is not None:
        logits = torch.cat([logits, taken(shown["sinks"])], dim=-1)
    real = wanted["real"].to(scores.device)[:, :, None, None]
    # Where the largest score of each row was subtracted before the softmax, its output does not tell.
    found["shifted", layer] = bool(((largest == 0) | ~real).all())
    expected = torch.softmax(logits, dim=-1)[..., :keys]
    unlike = ((expected - pattern).abs() / pattern.amax(dim=-1, keepdim=True)).masked_fill(~real, 0.0)
    total = wanted["past"] + wanted["tokens"]
    column = torch.arange(total - keys, total, device=scores.device)
    later = (column > rows[:, :, None] + wanted["past"])[:, :, None] & real
    width = min(wanted["width"], keys)
    found["unlike", layer] = float(unlike.max())
    found["later", layer] = bool((visible & later).any())
    for site, tensor in (("scores", kept), ("pattern", pattern)):
        if site in reading["rows"]:
            found[site, layer] = tensor.masked_fill(~visible, 0.0)[..., -width:].cpu()
    found["visible", layer] = visible[..., -width:].cpu()
