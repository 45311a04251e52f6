"""All commands: one an analysis, and those that look at models, tasks, prompts and runs."""

from __future__ import annotations

from importlib import import_module

import click

from .output import write_line

# Where each command is that is no analysis.
_OTHERS = {
    "bundle": "view",
    "check": "look",
    "families": "look",
    "gather": "gather",
    "prompt": "prompt",
    "report": "runs",
    "reproduce": "reproduce",
    "show": "runs",
    "sweep": "sweep",
    "tasks": "look",
    "validate": "runs",
    "view": "view",
}
COMPLETION = "_ICLPROBE_COMPLETE"
"""The variable by which a shell asks what completes."""
_SHELLS = ("bash", "fish", "zsh")


class _Commands(click.Group):
    """The commands there are, each made when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name them: analyses first."""
        return list(dict.fromkeys([*(each.command for each in _analyses().values()), *_OTHERS, "completion"]))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return one of them."""
        if cmd_name in _OTHERS:
            return getattr(import_module(f".{_OTHERS[cmd_name]}", __package__), cmd_name)
        if cmd_name == "completion":
            return completion
        from .analysis_command import AnalysisCommand

        found = next((each for each in _analyses().values() if each.command == cmd_name), None)
        return None if found is None else AnalysisCommand(found)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; one that there is not names those close to it."""
        from difflib import get_close_matches

        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            close = get_close_matches(args[0], self.list_commands(ctx))
            if not close:
                raise
            told = f"{error.message.rstrip('.')}: did you mean {' or '.join(close)}?"
            raise click.UsageError(told, ctx) from error


def _analyses() -> dict:
    from ..study.analysis import registered_analyses

    return registered_analyses()


@click.command(cls=_Commands, no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(None, "--version", package_name="iclprobe", message="%(prog)s %(version)s")
def iclprobe() -> None:
    """Does a language model change inside the same way in context as when it is finetuned?"""


@click.command()
@click.argument("shell", type=click.Choice(_SHELLS))
def completion(shell: str) -> None:
    """Print what lets a shell complete commands and options: eval "$(iclprobe completion bash)"."""
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None
    write_line(found(iclprobe, {}, "iclprobe", COMPLETION).source())
