"""Does a language model change inside the same way in context as when it is finetuned?

The public names. They load on first use, so that importing the package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .analyses.attention.config import AttentionConfig
    from .analyses.attention.registration import attention
    from .analyses.comparison.comparison import Comparison
    from .analyses.comparison.config import CompareConfig
    from .analyses.comparison.registration import compare
    from .analyses.configuration import SubjectConfig
    from .analyses.construction.config import ConstructionConfig
    from .analyses.construction.registration import construction
    from .analyses.context import Context, Measured
    from .analyses.controls.config import ControlsConfig
    from .analyses.controls.registration import controls
    from .analyses.drift.config import DriftConfig
    from .analyses.drift.registration import drift
    from .analyses.gather.config import GatherConfig
    from .analyses.gather.registration import gather
    from .analyses.gather.tables import gathered_tables
    from .analyses.gradients.config import GradientsConfig
    from .analyses.gradients.registration import gradients
    from .analyses.implicit_update.config import ImplicitUpdateConfig
    from .analyses.implicit_update.registration import implicit_update
    from .analyses.labels.config import LabelsConfig
    from .analyses.labels.registration import labels
    from .analyses.order.config import OrderConfig
    from .analyses.order.registration import order
    from .analyses.outputs.config import OutputsConfig
    from .analyses.outputs.registration import outputs
    from .analyses.outputs.study import OutputsStudy
    from .analyses.papers.registration import reproduce
    from .analyses.papers.reproduction import Reproduction
    from .analyses.parts.config import PartsConfig
    from .analyses.parts.registration import parts
    from .analyses.prompt import PromptView, show_prompt
    from .analyses.prompt_config import PromptConfig
    from .analyses.runner import run_analysis
    from .analyses.sparsity.config import SparsityConfig
    from .analyses.sparsity.registration import sparsity
    from .analyses.trajectory.config import TrajectoryConfig
    from .analyses.trajectory.registration import trajectory
    from .analyses.transfer.config import TransferConfig
    from .analyses.transfer.registration import transfer
    from .errors import UserError
    from .hooks.capture import capture, stream
    from .hooks.captured import Capture
    from .hooks.engines.agreement import EnginesAgreement, engines_agree
    from .hooks.engines.nnsight import NNsightEngine
    from .hooks.family_outcomes import FamilyOutcome, family_outcomes
    from .hooks.next_token import NextToken, stream_next_token
    from .hooks.patch import patch
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
    from .study.loading import load_study
    from .study.study import Study
    from .sweeps.config import SweepConfig
    from .sweeps.dry_run import DryRun, dry_run
    from .sweeps.experiments import reproduce_all
    from .sweeps.sweep import SweepResult, sweep
    from .tasks.catalogue import TaskEntry, load_task, register_task
    from .tasks.demonstrations import draw_demonstrations
    from .tasks.prompts import PromptSet, TaskPrompts, build_prompts
    from .tasks.spans import Span
    from .tasks.task import Record, Task, Template

__version__ = "0.1.0"

_PLACES = {
    "Analysis": "study.analysis",
    "AttentionConfig": "analyses.attention.config",
    "AttentionProjection": "models.weights",
    "Capture": "hooks.captured",
    "CapturePlan": "hooks.plan",
    "Column": "study.columns",
    "CompareConfig": "analyses.comparison.config",
    "Comparison": "analyses.comparison.comparison",
    "ConstructionConfig": "analyses.construction.config",
    "Context": "analyses.context",
    "ControlsConfig": "analyses.controls.config",
    "Delta": "models.delta",
    "DriftConfig": "analyses.drift.config",
    "DryRun": "sweeps.dry_run",
    "EnginesAgreement": "hooks.engines.agreement",
    "Family": "models.families",
    "FamilyOutcome": "hooks.family_outcomes",
    "Finding": "study.finding",
    "Finetuning": "models.finetuning",
    "GatherConfig": "analyses.gather.config",
    "GradientsConfig": "analyses.gradients.config",
    "ImplicitUpdateConfig": "analyses.implicit_update.config",
    "LabelsConfig": "analyses.labels.config",
    "LanguageModel": "models.loading",
    "Measured": "analyses.context",
    "NNsightEngine": "hooks.engines.nnsight",
    "NextToken": "hooks.next_token",
    "OrderConfig": "analyses.order.config",
    "OutputsConfig": "analyses.outputs.config",
    "OutputsStudy": "analyses.outputs.study",
    "PartsConfig": "analyses.parts.config",
    "ProjectionFile": "models.weights",
    "PromptConfig": "analyses.prompt_config",
    "PromptSet": "tasks.prompts",
    "PromptView": "analyses.prompt",
    "Recipe": "models.recipe",
    "Record": "tasks.task",
    "RepeatedQueries": "hooks.repeated_queries",
    "Reproduction": "analyses.papers.reproduction",
    "SelfCheck": "hooks.self_check",
    "Span": "tasks.spans",
    "SparsityConfig": "analyses.sparsity.config",
    "Study": "study.study",
    "SubjectConfig": "analyses.configuration",
    "SweepConfig": "sweeps.config",
    "SweepResult": "sweeps.sweep",
    "Table": "study.columns",
    "Task": "tasks.task",
    "TaskEntry": "tasks.catalogue",
    "TaskPrompts": "tasks.prompts",
    "Template": "tasks.task",
    "TransferConfig": "analyses.transfer.config",
    "TrajectoryConfig": "analyses.trajectory.config",
    "UserError": "errors",
    "attention": "analyses.attention.registration",
    "attention_projections": "models.weights",
    "build_prompts": "tasks.prompts",
    "capture": "hooks.capture",
    "compare": "analyses.comparison.registration",
    "construction": "analyses.construction.registration",
    "controls": "analyses.controls.registration",
    "draw_demonstrations": "tasks.demonstrations",
    "drift": "analyses.drift.registration",
    "dry_run": "sweeps.dry_run",
    "engines_agree": "hooks.engines.agreement",
    "family_outcomes": "hooks.family_outcomes",
    "finetune": "models.finetuning",
    "gather": "analyses.gather.registration",
    "gathered_tables": "analyses.gather.tables",
    "gradients": "analyses.gradients.registration",
    "implicit_update": "analyses.implicit_update.registration",
    "labels": "analyses.labels.registration",
    "load_model": "models.loading",
    "load_recipe": "models.recipe",
    "load_study": "study.loading",
    "load_task": "tasks.catalogue",
    "open_projections": "models.weights",
    "order": "analyses.order.registration",
    "outputs": "analyses.outputs.registration",
    "parts": "analyses.parts.registration",
    "patch": "hooks.patch",
    "register": "study.analysis",
    "register_family": "models.families",
    "register_task": "tasks.catalogue",
    "reproduce": "analyses.papers.registration",
    "reproduce_all": "sweeps.experiments",
    "run_analysis": "analyses.runner",
    "self_check": "hooks.self_check",
    "show_prompt": "analyses.prompt",
    "sparsity": "analyses.sparsity.registration",
    "stream": "hooks.capture",
    "stream_next_token": "hooks.next_token",
    "sweep": "sweeps.sweep",
    "tap": "hooks.tap",
    "transfer": "analyses.transfer.registration",
    "trajectory": "analyses.trajectory.registration",
}

__all__ = [
    "Analysis",
    "AttentionConfig",
    "AttentionProjection",
    "Capture",
    "CapturePlan",
    "Column",
    "CompareConfig",
    "Comparison",
    "ConstructionConfig",
    "Context",
    "ControlsConfig",
    "Delta",
    "DriftConfig",
    "DryRun",
    "EnginesAgreement",
    "Family",
    "FamilyOutcome",
    "Finding",
    "Finetuning",
    "GatherConfig",
    "GradientsConfig",
    "ImplicitUpdateConfig",
    "LabelsConfig",
    "LanguageModel",
    "Measured",
    "NNsightEngine",
    "NextToken",
    "OrderConfig",
    "OutputsConfig",
    "OutputsStudy",
    "PartsConfig",
    "ProjectionFile",
    "PromptConfig",
    "PromptSet",
    "PromptView",
    "Recipe",
    "Record",
    "RepeatedQueries",
    "Reproduction",
    "SelfCheck",
    "Span",
    "SparsityConfig",
    "Study",
    "SubjectConfig",
    "SweepConfig",
    "SweepResult",
    "Table",
    "Task",
    "TaskEntry",
    "TaskPrompts",
    "Template",
    "TrajectoryConfig",
    "TransferConfig",
    "UserError",
    "attention",
    "attention_projections",
    "build_prompts",
    "capture",
    "compare",
    "construction",
    "controls",
    "draw_demonstrations",
    "drift",
    "dry_run",
    "engines_agree",
    "family_outcomes",
    "finetune",
    "gather",
    "gathered_tables",
    "gradients",
    "implicit_update",
    "labels",
    "load_model",
    "load_recipe",
    "load_study",
    "load_task",
    "open_projections",
    "order",
    "outputs",
    "parts",
    "patch",
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
    "sweep",
    "tap",
    "trajectory",
    "transfer",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'iclprobe' has no attribute {name!r}")
    return getattr(import_module(f".{_PLACES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
