"""`iclprobe check`, `tasks` and `families`: what there is, and whether it does what it should."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import DeviceOption, DtypeOption, TokenizerOption, TrustOption


def check(
    model: Annotated[str, typer.Argument(help="Hub id, directory, or pocket.")] = "pocket",
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit.")] = None,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    tokenizer: TokenizerOption = None,
    trust_remote_code: TrustOption = False,
    attention: Annotated[str | None, typer.Option(help="Attention implementation: sdpa, eager …")] = None,
) -> None:
    """Check on a model that what is recorded is what the model does."""
    from ..hooks.self_check import self_check
    from ..models.loading import load_model

    loaded = load_model(
        model,
        tokenizer=tokenizer,
        revision=revision,
        device=device or "auto",
        dtype=dtype or "auto",
        attention=attention,
        trust_remote_code=trust_remote_code,
    )
    result = self_check(loaded)
    for line in result.lines():
        typer.echo(line)
    if not result.held:
        raise typer.Exit(1)


def tasks(
    name: Annotated[
        str | None, typer.Argument(help="A task, to see its template, label words and columns.")
    ] = None,
) -> None:
    """List the tasks of the catalogue, or show one: what it asks, and how to give it data of your own."""
    from ..tasks.catalogue import task_entry, task_names
    from ..tasks.description import describe_task

    if name is not None:
        typer.echo("\n".join(describe_task(task_entry(name))))
        return
    for name in task_names():
        entry = task_entry(name)
        variants = ", ".join(entry.variants)
        typer.echo(f"{name:20} {len(entry.label_names)} labels; {variants:10} {entry.description}")


def families() -> None:
    """List the model families of the table."""
    from ..models.families import family_names

    typer.echo("\n".join(family_names()))
