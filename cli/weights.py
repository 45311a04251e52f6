"""`iclprobe sparsity` and `iclprobe drift`: what attention weights look like, and how they move."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import UserError, shown
from .options import (
    OverwriteOption,
    RevisionOption,
    TokenizerOption,
    TrustOption,
    numbers,
    pairs,
    say,
    settings_from,
)

_Layers = Annotated[str | None, typer.Option(help="Layers: 0,5,-1. [default: all]")]
_Matrices = Annotated[str, typer.Option(help="Of q, k, v and o (W_Q, W_K, W_V, W_O).")]
_Pattern = Annotated[
    str | None,
    typer.Option(help="Tensor names of an unknown family: q=blocks.{layer}.wq,k=…,v=…"),
]
_Family = Annotated[str | None, typer.Option(help="The family, where the checkpoint does not say it.")]
_Endpoint = Annotated[str | None, typer.Option(help="The hub's address, in place of the usual one.")]
_WeightDevice = Annotated[str, typer.Option(help="cpu, cuda, cuda:0 …")]
_AllowUndefined = Annotated[
    bool, typer.Option("--allow-undefined", help="Leave NaN and infinite entries out, and count them.")
]
_Json = Annotated[bool, typer.Option("--json", help="Print every number as JSON in place of the table.")]
_Out = Annotated[Path | None, typer.Option(help="Write a run directory: tables, figures, every number.")]

_MATRICES = {"q": "query", "k": "key", "v": "value", "o": "output"}


def sparsity(
    model: Annotated[str, typer.Argument(help="Hub id, directory, file, address, or pocket.")] = "pocket",
    revision: RevisionOption = None,
    threshold: Annotated[
        str | None, typer.Option(help="Thresholds δ. [default: 1e-2,1e-3,1e-4,1e-5,1e-6]")
    ] = None,
    matrices: _Matrices = "q,k,v",
    layers: _Layers = None,
    pattern: _Pattern = None,
    family: _Family = None,
    endpoint: _Endpoint = None,
    device: _WeightDevice = "cpu",
    no_stable_rank: Annotated[
        bool, typer.Option("--no-stable-rank", help="Leave out stable ranks, which take longest.")
    ] = False,
    allow_undefined: _AllowUndefined = False,
    as_json: _Json = False,
    out: _Out = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Measure how many entries of W_Q, W_K and W_V are near zero, layer by layer, without loading a model."""
    from ..analyses.weights.sparsity import sparsity as run
    from ..analyses.weights.sparsity_config import SparsityConfig

    given = {
        "model": model,
        "revision": revision,
        "thresholds": numbers(threshold, "--threshold", float),
        "stable_rank": not no_stable_rank,
        **_reading(matrices, layers, pattern, family, endpoint, device, allow_undefined),
    }
    result = run(
        config=settings_from(SparsityConfig, given, None, "sparsity", model="MODEL"),
        out=out,
        overwrite=overwrite,
        progress=lambda read: _bar(read, "weights"),
    )
    _show(result, as_json, out)


def drift(
    checkpoints: Annotated[
        list[str] | None, typer.Argument(help="Directories, files or hub ids (model@revision), in order.")
    ] = None,
    repo: Annotated[
        str | None, typer.Option(help="One repository with a revision a step, or pocket; see --steps.")
    ] = None,
    steps: Annotated[
        str | None, typer.Option(help="Steps: 0,512,1000. [default for pocket: every one it has]")
    ] = None,
    revision_template: Annotated[
        str | None, typer.Option(help="How a step's revision is called. [default: step{step}]")
    ] = None,
    glob: Annotated[
        str | None, typer.Option(help="Trainer output: 'out/checkpoint-*', sorted by step.")
    ] = None,
    icl: Annotated[str | None, typer.Option(help="Tasks to run in context at each checkpoint.")] = None,
    data: Annotated[str | None, typer.Option(help="Records of the task, in place of the hub.")] = None,
    shots: Annotated[int, typer.Option(help="Demonstrations.")] = 8,
    seeds: Annotated[str, typer.Option(help="Draws of demonstrations.")] = "0,1,2",
    limit: Annotated[int, typer.Option(help="Queries of each task at most.")] = 200,
    tokenizer: TokenizerOption = None,
    trust_remote_code: TrustOption = False,
    matrices: _Matrices = "q,k,v",
    layers: _Layers = None,
    pattern: _Pattern = None,
    family: _Family = None,
    endpoint: _Endpoint = None,
    device: _WeightDevice = "cpu",
    allow_undefined: _AllowUndefined = False,
    as_json: _Json = False,
    out: _Out = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Measure how far W_Q, W_K and W_V move over a series of checkpoints, without loading a model.

    Without any checkpoint: those of the embedded pocket model.
    """
    from ..analyses.weights.drift import drift as run
    from ..analyses.weights.drift_config import DriftConfig

    given = {
        "checkpoints": _series(checkpoints or [], repo, steps, revision_template, glob),
        "icl": () if icl is None else tuple(name.strip() for name in icl.split(",")),
        "data": data,
        "shots": shots,
        "seeds": numbers(seeds, "--seeds", int),
        "limit": limit,
        "tokenizer": tokenizer,
        "trust_remote_code": trust_remote_code,
        **_reading(matrices, layers, pattern, family, endpoint, device, allow_undefined),
    }
    settings = settings_from(DriftConfig, given, None, "drift", checkpoints="CHECKPOINTS")
    result = run(config=settings, out=out, overwrite=overwrite, progress=_bar)
    _show(result, as_json, out)


def _series(
    places: list[str], repo: str | None, steps: str | None, template: str | None, pattern: str | None
) -> Sequence[Any]:
    """Return the checkpoints that exactly one of the three ways names."""
    from ..analyses.weights.checkpoints import checkpoints_at, checkpoints_by_step, checkpoints_matching
    from ..models.pocket import POCKET_MODELS, pocket_steps

    if sum((bool(places), repo is not None, pattern is not None)) > 1:
        raise UserError(
            "checkpoints are given as arguments, by --repo with --steps, or by --glob: choose one way"
        )
    if places:
        return checkpoints_at(places)
    if pattern is not None:
        return checkpoints_matching(pattern)
    chosen = numbers(steps, "--steps", int)
    name = repo or POCKET_MODELS[0]
    if chosen is None and name != POCKET_MODELS[0]:
        raise UserError(f"--repo {shown(name)} needs --steps, such as --steps 0,512,1000")
    return checkpoints_by_step(name, chosen or pocket_steps(), template)


def _reading(
    matrices: str,
    layers: str | None,
    pattern: str | None,
    family: str | None,
    endpoint: str | None,
    device: str,
    allow_undefined: bool,
) -> dict[str, Any]:
    letters = [letter.strip() for letter in matrices.split(",")]
    named = pairs(pattern, "--pattern", "q=blocks.{layer}.wq,k=blocks.{layer}.wk,v=blocks.{layer}.wv")
    for letter in (*letters, *(named or {})):
        if letter not in _MATRICES:
            raise UserError(f"there is no matrix {shown(letter)}: choose of q, k, v and o")
    return {
        "matrices": tuple(_MATRICES[letter] for letter in letters),
        "layers": numbers(layers, "--layers", int),
        "pattern": None if named is None else {_MATRICES[key]: name for key, name in named.items()},
        "family": family,
        "endpoint": endpoint,
        "device": device,
        "allow_undefined": allow_undefined,
    }


def _bar(entries: Iterable[Any], name: str) -> Iterator[Any]:
    from ..progress import progressing

    return progressing(entries, name, "matrices" if name == "weights" else "checkpoints")


def _show(result: Any, as_json: bool, out: Path | None) -> None:
    import json

    from ..study.plain_values import plain

    if as_json:
        typer.echo(json.dumps(plain(result.results()), indent=2, ensure_ascii=False, allow_nan=False))
    else:
        typer.echo(result.table())
    if out is not None:
        say(f"wrote {out}")
