"""`iclprobe construction`: the arm of the argument in which a transformer is gradient descent."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import shown
from ..settings import make_config
from .options import (
    ConfigOption,
    OutOption,
    OverwriteOption,
    RevisionOption,
    options_of,
    present,
    read_config,
    say,
)


def construction(
    n_x: Annotated[int | None, typer.Option(help="N_x, entries of x. [default: 10]")] = None,
    n_y: Annotated[int | None, typer.Option(help="N_y, entries of y. [default: 1]")] = None,
    demonstrations: Annotated[
        int | None, typer.Option(help="N, demonstrations of a task in training. [default: 10]")
    ] = None,
    demonstration_counts: Annotated[
        str | None, typer.Option(help="Numbers unlike training's. [default: 1,2,5,10,20,40,80]")
    ] = None,
    input_scales: Annotated[
        str | None, typer.Option(help="Factors on x. [default: 0.5,0.75,1,1.25,1.5,1.75,2]")
    ] = None,
    weight_scales: Annotated[str | None, typer.Option(help="Factors on W. [default: 0.5,1,2,3,4,5]")] = None,
    steps: Annotated[int | None, typer.Option(help="Steps of Adam. [default: 2500]")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Tasks of one step. [default: 2048]")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate of Adam. [default: 0.001]")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of every random draw. [default: 0]")] = None,
    model: Annotated[
        str | None, typer.Option(help="A pretrained model whose weights stand beside. [default: pocket]")
    ] = None,
    revision: RevisionOption = None,
    no_model: Annotated[bool, typer.Option("--no-model", help="Leave out pretrained weights.")] = False,
    config: ConfigOption = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print every number as JSON in place of the table.")
    ] = False,
    out: OutOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Train a linear self-attention layer for in-context regression and compare it with gradient descent."""
    import json

    from ..analyses.construction.config import ConstructionConfig
    from ..analyses.construction.study import study_construction
    from ..study.plain_values import plain
    from ..study.run_directory import free_run_name

    given: dict[str, Any] = {
        "n_x": n_x,
        "n_y": n_y,
        "demonstrations": demonstrations,
        "demonstration_counts": demonstration_counts,
        "input_scales": input_scales,
        "weight_scales": weight_scales,
        "steps": steps,
        "batch_size": batch_size,
        "learning_rate": lr,
        "seed": seed,
        "model": model,
        "revision": revision,
    }
    values = {**read_config(config), **present(given)}
    if no_model:
        values["model"] = None
    source = shown(config) if config else "construction"
    settings = make_config(ConstructionConfig, values, source, options_of(given))
    folder = out if out is not None else Path("runs") / free_run_name(*settings.run_name)
    result = study_construction(settings, out=folder, overwrite=overwrite, say=say)
    if as_json:
        typer.echo(json.dumps(plain(result.results()), indent=2, ensure_ascii=False, allow_nan=False))
    else:
        typer.echo(result.table())
    say(f"\nwrote {folder}")
