"""In a fresh notebook kernel: what a user displays is short, a plot shows once, and progress is seen."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from iclprobe.study.analysis import registered_analyses

pytestmark = pytest.mark.slow

CELLS = (
    "import iclprobe",
    "study = iclprobe.gradients(shots=4, learning_rate=0.05, device='cpu', seeds=(0, 1)); study",
    "study.plot()",
    "task = iclprobe.load_task('pocket-topic-code'); task",
    "model = iclprobe.load_model('pocket', device='cpu')\n"
    "prompts = iclprobe.build_prompts(model.require_tokenizer(), task.template,\n"
    "    iclprobe.draw_demonstrations(task, 2, 0), task.validation[:4], model.context_length)\n"
    "iclprobe.capture(model, prompts.icl)",
    "import time\nfrom iclprobe.progress import progressing\n"
    "for each in progressing(range(3), 'working', 'steps'): time.sleep(0.01)",
)
LOADED = "iclprobe.load_study(r'{folder}')"
NAMES = sorted(registered_analyses())


@pytest.fixture(scope="module")
def outputs(run: Callable[[str], tuple[Any, Path]]) -> list[list[Any]]:
    import nbformat
    from jupyter_client.kernelspec import KernelSpec
    from nbclient import NotebookClient

    cells = [*CELLS, *(LOADED.format(folder=run(name)[1]) for name in NAMES)]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    client = NotebookClient(notebook, timeout=300, kernel_name="python3")
    manager = client.create_kernel_manager()
    # The kernel is this interpreter, whatever kernels the machine knows.
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    manager._kernel_spec = KernelSpec(argv=argv, display_name="here", language="python")
    client.execute(cwd=str(Path.cwd()))
    return [cell["outputs"] for cell in notebook.cells]


def _shown(outputs: list[Any]) -> list[Any]:
    return [each["data"] for each in outputs if each["output_type"] in ("execute_result", "display_data")]


def test_a_study_shows_as_a_short_table(outputs: list[list[Any]]) -> None:
    (shown,) = _shown(outputs[1])
    assert "<table" in shown["text/html"] and "barnatan_lcft" in shown["text/html"]
    assert len(shown["text/html"].encode()) < 5000 and len(shown["text/plain"]) < 600


@pytest.mark.parametrize("name", NAMES)
def test_every_loaded_study_shows_as_a_short_table(name: str, outputs: list[list[Any]]) -> None:
    (shown,) = _shown(outputs[len(CELLS) + NAMES.index(name)])
    assert "<table" in shown["text/html"] and len(shown["text/html"].encode()) < 5000
    assert len(shown["text/plain"]) < 600


def test_a_plot_shows_once(outputs: list[list[Any]]) -> None:
    (shown,) = _shown(outputs[2])
    assert "image/png" in shown


@pytest.mark.parametrize("cell", [3, 4])
def test_tasks_and_captures_show_shortly(cell: int, outputs: list[list[Any]]) -> None:
    (shown,) = _shown(outputs[cell])
    assert all(len(text) < 5000 for text in shown.values())


def test_progress_is_seen(outputs: list[list[Any]]) -> None:
    said = "".join(each.get("text", "") for each in outputs[5]) + str(_shown(outputs[5]))
    assert "working" in said
