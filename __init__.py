"""Does a language model change inside the same way in context as when it is finetuned?

The public names. They load on first use, so that importing the package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .analyses.arms.order import OrderStudy, order
    from .analyses.arms.order_config import OrderConfig
    from .analyses.arms.outputs import OutputsStudy, outputs
    from .analyses.arms.outputs_config import OutputsConfig
    from .analyses.comparison.grid import ComparisonGrid, compare_grid
    from .analyses.comparison.study import Comparison, compare
    from .analyses.configuration import CompareConfig, GridConfig, SubjectConfig
    from .analyses.construction.config import ConstructionConfig
    from .analyses.construction.study import ConstructionStudy, study_construction
    from .analyses.context import Context, Measured
    from .analyses.controls.config import ControlsConfig
    from .analyses.controls.registration import controls
    from .analyses.gradients.config import GradientsConfig
    from .analyses.gradients.registration import gradients
    from .analyses.papers.every import reproduce_all
    from .analyses.papers.reproduction import Reproduction, reproduce
    from .analyses.prompt import PromptView, show_prompt
    from .analyses.prompt_config import PromptConfig
    from .analyses.runner import run_analysis
    from .analyses.weights.drift import DriftStudy, drift
    from .analyses.weights.sparsity import Sparsity, sparsity
    from .errors import UserError
    from .hooks.capture import capture, stream
    from .hooks.captured import Capture
    from .hooks.family_outcomes import FamilyOutcome, family_outcomes
    from .hooks.next_token import NextToken, stream_next_token
    from .hooks.plan import CapturePlan
    from .hooks.repeated_queries import RepeatedQueries
    from .hooks.self_check import SelfCheck, self_check
    from .hooks.tap import tap
    from .models.delta import Delta
    from .models.families import Family, register_family
    from .models.finetuning import Finetuning, finetune
    from .models.loading import LanguageModel, load_model
    from .models.recipe import Recipe, load_recipe
    from .models.weights import (
        AttentionProjection,
        ProjectionFile,
        attention_projections,
        open_projections,
    )
    from .study.analysis import Analysis, register
    from .study.columns import Column, Table
    from .study.finding import Finding
    from .study.study import Study
    from .study.study_files import load_study
    from .tasks.catalogue import TaskEntry, load_task, register_task
    from .tasks.demonstrations import draw_demonstrations
    from .tasks.prompts import PromptSet, TaskPrompts, build_prompts
    from .tasks.task import Record, Task, Template

__version__ = "0.1.0"

_PLACES = {
    "AttentionProjection": "models.weights",
    "Capture": "hooks.captured",
    "CapturePlan": "hooks.plan",
    "CompareConfig": "analyses.configuration",
    "Comparison": "analyses.comparison.study",
    "ComparisonGrid": "analyses.comparison.grid",
    "ConstructionConfig": "analyses.construction.config",
    "ConstructionStudy": "analyses.construction.study",
    "ControlsConfig": "analyses.controls.config",
    "Delta": "models.delta",
    "DriftStudy": "analyses.weights.drift",
    "Family": "models.families",
    "FamilyOutcome": "hooks.family_outcomes",
    "Finetuning": "models.finetuning",
    "GradientsConfig": "analyses.gradients.config",
    "GridConfig": "analyses.configuration",
    "LanguageModel": "models.loading",
    "NextToken": "hooks.next_token",
    "OrderConfig": "analyses.arms.order_config",
    "OrderStudy": "analyses.arms.order",
    "OutputsConfig": "analyses.arms.outputs_config",
    "OutputsStudy": "analyses.arms.outputs",
    "ProjectionFile": "models.weights",
    "PromptConfig": "analyses.prompt_config",
    "PromptSet": "tasks.prompts",
    "PromptView": "analyses.prompt",
    "Recipe": "models.recipe",
    "Record": "tasks.task",
    "RepeatedQueries": "hooks.repeated_queries",
    "Reproduction": "analyses.papers.reproduction",
    "SelfCheck": "hooks.self_check",
    "Sparsity": "analyses.weights.sparsity",
    "SubjectConfig": "analyses.configuration",
    "Task": "tasks.task",
    "TaskEntry": "tasks.catalogue",
    "TaskPrompts": "tasks.prompts",
    "Template": "tasks.task",
    "UserError": "errors",
    "attention_projections": "models.weights",
    "build_prompts": "tasks.prompts",
    "capture": "hooks.capture",
    "compare": "analyses.comparison.study",
    "compare_grid": "analyses.comparison.grid",
    "controls": "analyses.controls.registration",
    "draw_demonstrations": "tasks.demonstrations",
    "drift": "analyses.weights.drift",
    "family_outcomes": "hooks.family_outcomes",
    "finetune": "models.finetuning",
    "gradients": "analyses.gradients.registration",
    "load_model": "models.loading",
    "load_recipe": "models.recipe",
    "load_task": "tasks.catalogue",
    "open_projections": "models.weights",
    "order": "analyses.arms.order",
    "outputs": "analyses.arms.outputs",
    "register_family": "models.families",
    "register_task": "tasks.catalogue",
    "reproduce": "analyses.papers.reproduction",
    "reproduce_all": "analyses.papers.every",
    "self_check": "hooks.self_check",
    "show_prompt": "analyses.prompt",
    "sparsity": "analyses.weights.sparsity",
    "stream": "hooks.capture",
    "stream_next_token": "hooks.next_token",
    "study_construction": "analyses.construction.study",
    "tap": "hooks.tap",
    "Analysis": "study.analysis",
    "Column": "study.columns",
    "Finding": "study.finding",
    "Study": "study.study",
    "Table": "study.columns",
    "load_study": "study.study_files",
    "register": "study.analysis",
    "run_analysis": "analyses.runner",
    "Measured": "analyses.context",
    "Context": "analyses.context",
}

__all__ = [
    "Analysis",
    "AttentionProjection",
    "Capture",
    "CapturePlan",
    "Column",
    "CompareConfig",
    "Comparison",
    "ComparisonGrid",
    "ConstructionConfig",
    "ConstructionStudy",
    "Context",
    "ControlsConfig",
    "Delta",
    "DriftStudy",
    "Family",
    "FamilyOutcome",
    "Finding",
    "Finetuning",
    "GradientsConfig",
    "GridConfig",
    "LanguageModel",
    "Measured",
    "NextToken",
    "OrderConfig",
    "OrderStudy",
    "OutputsConfig",
    "OutputsStudy",
    "ProjectionFile",
    "PromptConfig",
    "PromptSet",
    "PromptView",
    "Recipe",
    "Record",
    "RepeatedQueries",
    "Reproduction",
    "SelfCheck",
    "Sparsity",
    "Study",
    "SubjectConfig",
    "Table",
    "Task",
    "TaskEntry",
    "TaskPrompts",
    "Template",
    "UserError",
    "attention_projections",
    "build_prompts",
    "capture",
    "compare",
    "compare_grid",
    "controls",
    "draw_demonstrations",
    "drift",
    "family_outcomes",
    "finetune",
    "gradients",
    "load_model",
    "load_recipe",
    "load_study",
    "load_task",
    "open_projections",
    "order",
    "outputs",
    "register",
    "register_family",
    "register_task",
    "reproduce",
    "reproduce_all",
    "run_analysis",
    "self_check",
    "show_prompt",
    "sparsity",
    "stream",
    "stream_next_token",
    "study_construction",
    "tap",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'iclprobe' has no attribute {name!r}")
    return getattr(import_module(f".{_PLACES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
