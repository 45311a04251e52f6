"""The command line: parse, run, print."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
import traceback
import warnings

import click

from ..addresses import public
from ..errors import UserError, lacks_memory, shown
from ..text_files import has_half_character
from .commands import COMPLETION, iclprobe
from .output import say, write_line

# The exit code after Ctrl-C.
_INTERRUPTED = 130


def _quiet_libraries() -> None:
    """Let transformers speak of errors only, and warnings be one line each."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.showwarning = lambda message, *_, **__: say(f"warning: {message}")


def _end_imports_at_once() -> None:
    """Let Ctrl-C end the process while torch is imported: its C++ side would abort, and nothing is begun yet."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, _interrupted)


def _interrupted(*_: object) -> None:
    spec = getattr(sys.modules.get("torch"), "__spec__", None)
    if getattr(spec, "_initializing", False):
        os._exit(_INTERRUPTED)
    raise KeyboardInterrupt


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code: 2 for what a user can mend, told in one sentence."""
    _quiet_libraries()
    _end_imports_at_once()
    try:
        for text in sys.argv[1:] if arguments is None else arguments:
            if has_half_character(text):
                raise UserError(f"the option {shown(text)} is no text in UTF-8: type it anew")
        code = _run(sys.argv[1:] if arguments is None else list(arguments))
        sys.stdout.flush()
        return code
    except UserError as error:
        say(f"iclprobe: {error}")
        return 2
    except click.exceptions.NoArgsIsHelpError as error:
        write_line(error.format_message())
        return 0
    except BrokenPipeError:
        # Whoever read the output has seen enough; what is left in the buffer would fail again at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (click.Abort, KeyboardInterrupt):
        return _INTERRUPTED
    except Exception as error:
        usage = _usage_error(error)
        if usage is None and lacks_memory(error):
            usage = (
                "iclprobe: there is not enough memory for this: take a smaller model, fewer queries at once "
                "(--batch-size) or shorter prompts (--shots), or another device"
            )
        if usage is None:
            # A crash tells no secrets of addresses either.
            sys.excepthook = lambda *crash: say("".join(traceback.format_exception(*crash)))
            raise
        say(usage)
        return 2


def _run(arguments: list[str]) -> int:
    """Run one command, or tell a shell what completes; click's own ``main`` makes a failure of a closed pipe."""
    asked = os.environ.get(COMPLETION)
    if asked:
        from click.shell_completion import shell_complete

        return shell_complete(iclprobe, {}, "iclprobe", COMPLETION, asked)
    try:
        with iclprobe.make_context("iclprobe", arguments) as context:
            code = iclprobe.invoke(context)
    except click.exceptions.Exit as ended:
        return ended.exit_code
    return code if isinstance(code, int) else 0


def _usage_error(error: Exception) -> str | None:
    """Return click's message for a mistake on the command line, else None."""
    show = getattr(error, "format_message", None)
    if show is None:
        return None
    # click quotes values as long as they are.
    said = re.sub(r"'[^']{61,}'|\"[^\"]{61,}\"", lambda found: shown(found[0][1:-1]), show())
    said = re.sub(r"\S{61,}", lambda found: f"{found[0][:59]}…", public(said))
    return f"iclprobe: {UserError(f'{said} (see --help)')}"
