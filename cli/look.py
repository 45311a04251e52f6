"""`iclprobe check`, `tasks` and `families`: what there is, and whether it does what it should."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import DeviceOption, DtypeOption, TokenizerOption, TrustOption

_OUTCOMES = {
    "row": "the table of families lists it, or the type of its text model",
    "derived": "its modules tell where attention lies; used if the self-check holds on the model itself",
    "refused": "describe it with iclprobe.register_family",
}


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
    typer.echo(f"family  {result.family}")
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


def families(
    every: Annotated[
        bool, typer.Option("--all", help="Every causal model type of transformers, by what becomes of it.")
    ] = False,
) -> None:
    """List the model families of the table, or every causal model type of the installed transformers."""
    from ..models.families import family_names

    if not every:
        typer.echo("\n".join(family_names()))
        return
    from ..hooks.family_outcomes import family_outcomes

    outcomes = family_outcomes()
    for outcome, told in _OUTCOMES.items():
        these = [each for each in outcomes if each.outcome == outcome]
        typer.echo(f"{outcome} ({len(these)}): {told}")
        for each in these:
            typer.echo(f"  {each.model_type:28} {each.why}".rstrip())
