"""The command line: parse, call an analysis, print, write the report."""

from __future__ import annotations

import warnings

import typer

from ..errors import UserError, lacks_memory
from .compare import compare
from .construction import construction
from .controls import controls
from .experiments import order, outputs
from .gradients import gradients
from .look import check, families, tasks
from .options import say
from .prompt import prompt
from .reproduce import reproduce
from .weights import drift, sparsity

app = typer.Typer(
    help="Does a language model change inside the same way in context as when it is finetuned?",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for command in (
    compare,
    controls,
    sparsity,
    drift,
    gradients,
    construction,
    order,
    outputs,
    prompt,
    check,
    tasks,
    families,
):
    app.command()(command)
app.command()(reproduce)


@app.callback()
def _root() -> None:
    """Does a language model change inside the same way in context as when it is finetuned?"""


def _quiet_libraries() -> None:
    """Let transformers speak of errors only, and warnings be one line each."""
    import os

    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.showwarning = lambda message, *_, **__: say(f"warning: {message}")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code: 2 for what a user can mend, told in one sentence."""
    _quiet_libraries()
    try:
        code = app(args=arguments, standalone_mode=False)
        return code if isinstance(code, int) else 0
    except UserError as error:
        say(f"iclprobe: {error}")
        return 2
    except typer.Abort:
        return 130
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        usage = _usage_error(error)
        if usage is None and lacks_memory(error):
            usage = (
                "iclprobe: there is not enough memory for this: take a smaller model, fewer queries at once "
                "(--batch-size) or shorter prompts (--shots), or another device"
            )
        if usage is None:
            raise
        say(usage)
        return 2


def _usage_error(error: Exception) -> str | None:
    """Return click's message for a mistake on the command line, else None."""
    show = getattr(error, "format_message", None)
    return f"iclprobe: {show()} (see --help)" if show is not None else None
