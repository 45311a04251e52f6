"""`iclprobe check`, `tasks` and `families`: what there is, and whether it does what it should."""

from __future__ import annotations

import click

from ..errors import UserError
from ..hooks.engines.names import ENGINES, EngineName
from .output import write_line

_OUTCOMES = {
    "row": "the table of families lists it, or the type of its text model",
    "derived": "its modules tell where attention lies; used if the self-check holds on the model itself",
    "refused": "describe it with iclprobe.register_family",
}


@click.command()
@click.argument("model", default="pocket", metavar="[MODEL]")
@click.option("--revision", help="Branch, tag or commit.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:0 …")
@click.option("--dtype", default="auto", show_default=True, help="float32, float16, bfloat16.")
@click.option("--tokenizer", help="Where the tokenizer is, in place of the model's own.")
@click.option(
    "--trust-remote-code", is_flag=True, help="Run code that comes with the model or its tokenizer."
)
@click.option("--attention", help="Attention implementation: sdpa, eager …")
@click.option(
    "--engine",
    type=click.Choice(["all", *ENGINES]),
    help="Hold an engine, or all that are installed, against the native capture instead.",
)
@click.pass_context
def check(
    context: click.Context,
    model: str,
    revision: str | None,
    device: str,
    dtype: str,
    tokenizer: str | None,
    trust_remote_code: bool,
    attention: str | None,
    engine: str | None,
) -> None:
    """Check on a model that what is recorded is what the model does."""
    from ..hooks.engines.agreement import engines_agree
    from ..hooks.self_check import self_check
    from ..models.loading import load_model

    loaded = load_model(
        model,
        tokenizer=tokenizer,
        revision=revision,
        device=device,
        dtype=dtype,
        attention=attention,
        trust_remote_code=trust_remote_code,
    )
    if engine is not None:
        others: list[EngineName] = [
            each for each in ENGINES if each == engine or (engine == "all" and each != "native")
        ]
        agreement = engines_agree(loaded, others)
        for line in agreement.lines():
            write_line(line)
        if not agreement.held:
            context.exit(1)
        if not agreement.compared:
            raise UserError("no engine was held against the native capture: the lines above say why")
        return
    result = self_check(loaded)
    write_line(f"family  {result.family}")
    for line in result.lines():
        write_line(line)
    if not result.held:
        context.exit(1)


@click.command()
@click.argument("name", required=False, metavar="[NAME]")
def tasks(name: str | None) -> None:
    """List the tasks of the catalogue, or show one: what it asks, and how to give it data of your own."""
    from ..tasks.catalogue import task_entry, task_names
    from ..tasks.description import describe_task

    if name is not None:
        write_line("\n".join(describe_task(task_entry(name))))
        return
    for known in task_names():
        entry = task_entry(known)
        variants = ", ".join(entry.variants)
        write_line(f"{known:20} {len(entry.label_names)} labels; {variants:10} {entry.description}")


@click.command()
@click.option(
    "--all", "every", is_flag=True, help="Every causal model type of transformers, by what becomes of it."
)
def families(every: bool) -> None:
    """List the model families of the table, or every causal model type of the installed transformers."""
    from ..models.families import family_names

    if not every:
        write_line("\n".join(family_names()))
        return
    from ..hooks.family_outcomes import family_outcomes

    outcomes = family_outcomes()
    for outcome, told in _OUTCOMES.items():
        these = [each for each in outcomes if each.outcome == outcome]
        write_line(f"{outcome} ({len(these)}): {told}")
        for each in these:
            write_line(f"  {each.model_type:28} {each.why}".rstrip())
