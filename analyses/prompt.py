"""What a model is sent: one query's zero-shot and in-context prompt, token by token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ..models.loading import LanguageModel, PromptingModel, load_model, load_prompting_model
from ..settings import make_config
from ..tasks.prompts import PromptSet
from ..tasks.spans import (
    BEGIN,
    CONTEXT,
    DEMONSTRATION_INPUT,
    DEMONSTRATION_LABEL,
    QUERY,
    SEPARATOR,
    TURN_HEAD,
    TURN_TAIL,
    Span,
)
from ..tasks.task import ChatTemplate, Task
from .cell import Cell, prepare_cell
from .prompt_config import PromptConfig
from .subject import load_records, short_records

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class PromptPart:
    """A run of tokens.

    Attributes:
        name: What it is, such as ``demonstration 1``.
        text: What the tokens say, decoded.
        ids: Their ids.
        tokens: Their texts as the vocabulary spells them.
    """

    name: str
    text: str
    ids: tuple[int, ...]
    tokens: tuple[str, ...]


@dataclass(frozen=True)
class WholePrompt:
    """One prompt, up to where the answer stands.

    Attributes:
        text: What its tokens say, special tokens included.
        parts: Its tokens, in order.
    """

    text: str
    parts: tuple[PromptPart, ...]

    @cached_property
    def ids(self) -> tuple[int, ...]:
        """All token ids."""
        return tuple(token for part in self.parts for token in part.ids)

    @cached_property
    def tokens(self) -> tuple[str, ...]:
        """The texts of all tokens as the vocabulary spells them."""
        return tuple(token for part in self.parts for token in part.tokens)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON holds it; ``parts`` are where each begins, by name."""
        starts, place = {}, 0
        for part in self.parts:
            starts[part.name] = place
            place += len(part.ids)
        return {"text": self.text, "parts": starts, "ids": self.ids, "tokens": self.tokens}


@dataclass(frozen=True)
class PromptView:
    """What a model is sent for one query.

    Attributes:
        model: The model's name.
        task: The task's name.
        template: The name of the template.
        query_index: Index of the query among the validation records.
        gold: The name of its label.
        chat_template: Whether the prompts are a chat's user turn.
        separator: What follows each demonstration, as text.
        template_separator: What the template has there: a blank line stands for an end-of-sequence token that would
            end a user turn.
        zero_shot: The prompt without demonstrations, which the finetuned model is given too.
        icl: The prompt behind the demonstrations.
        options: The tokens of every label behind the query, by the label's name.
        demonstrations_used: Demonstrations in the context.
        demonstrations_asked: Demonstrations asked for.
        longest: Tokens of the longest in-context prompt of all queries, with its longest label.
        context_length: How many tokens fit; None for no limit.
        notes: What the tokenizer does not show of the template.
    """

    model: str
    task: str
    template: str
    query_index: int
    gold: str
    chat_template: ChatTemplate
    separator: str
    template_separator: str
    zero_shot: WholePrompt
    icl: WholePrompt
    options: Mapping[str, PromptPart]
    demonstrations_used: int
    demonstrations_asked: int
    longest: int
    context_length: int | None
    notes: tuple[str, ...] = ()

    @property
    def begin(self) -> PromptPart | None:
        """The begin-of-sequence token, if there is one."""
        first = self.zero_shot.parts[0]
        return first if first.name == _BEGIN else None

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON holds it."""
        return {
            "query_index": self.query_index,
            "gold": self.gold,
            "template": self.template,
            "chat_template": self.chat_template,
            "separator": self.separator,
            "template_separator": self.template_separator,
            "demonstrations_used": self.demonstrations_used,
            "demonstrations_asked": self.demonstrations_asked,
            "longest_tokens": self.longest,
            "context_length": self.context_length,
            "notes": self.notes,
            "zero_shot": self.zero_shot.to_dict(),
            "icl": self.icl.to_dict(),
            "options": {
                label: {"text": part.text, "ids": part.ids, "tokens": part.tokens}
                for label, part in self.options.items()
            },
        }

    def table(self) -> str:
        """Return both prompts as text, token by token."""
        from .prompt_text import prompt_text

        return prompt_text(self)

    def __str__(self) -> str:
        """Return both prompts as text, token by token."""
        return self.table()


_BEGIN = "begin-of-sequence"
_PART_NAMES = {
    BEGIN: _BEGIN,
    TURN_HEAD: "head of the user turn",
    CONTEXT: "context",
    DEMONSTRATION_INPUT: "demonstration {number}",
    DEMONSTRATION_LABEL: "label {number}",
    SEPARATOR: "separator {number}",
    QUERY: "query",
    TURN_TAIL: "end of the user turn",
}


def show_prompt(
    config: PromptConfig | None = None,
    *,
    model: str | LanguageModel | PreTrainedModel | None = None,
    task: str | Task | None = None,
    **options: Any,
) -> PromptView:
    """Build the prompts of one query as every analysis builds them; of a model by name no weights are loaded.

    Args:
        config: Everything about the prompts; or give its fields as keywords.
        model: A model in memory in place of the configuration's, or its name.
        task: A task in memory in place of the configuration's, or its name.
        options: Fields of `PromptConfig`, such as ``query=3``, ``shots=4`` or ``template="shen"``.

    Raises:
        UserError: If prompts cannot be built, or the query is not among those that are asked.
    """
    named = {name: given for name, given in (("model", model), ("task", task)) if isinstance(given, str)}
    base = config.model_dump(exclude_unset=True) if config else {}
    settings: PromptConfig = make_config(PromptConfig, {**base, **options, **named}, "the prompt")
    records = load_records(settings, task)
    if model is None or isinstance(model, str):
        loaded = load_prompting_model(
            settings.model,
            revision=settings.revision,
            tokenizer=settings.tokenizer,
            trust_remote_code=settings.trust_remote_code,
        )
    else:
        loaded = load_model(model, tokenizer=settings.tokenizer, trust_remote_code=settings.trust_remote_code)
    chosen, _ = short_records(settings, records.task, loaded.require_tokenizer())
    cell = prepare_cell(settings, loaded, chosen, settings.seeds[0])
    return view_prompt(loaded, chosen, cell, settings.query)


def view_prompt(
    model: LanguageModel | PromptingModel, task: Task, cell: Cell, query: int | None = None
) -> PromptView:
    """Return one query's prompts of a draw.

    Args:
        model: The model.
        task: The task.
        cell: The draw.
        query: Index of the query among the validation records, one of the draw's; None is its first.

    Raises:
        UserError: If the draw does not ask that query.
    """
    if query is not None and query not in cell.queries:
        some = ", ".join(map(str, sorted(cell.queries)[:5]))
        raise UserError(
            f"query {query} is not among the {len(cell.queries)} that are asked ({some}, …): give one of them, or "
            "ask more with limit (--limit)"
        )
    place = 0 if query is None else cell.queries.index(query)
    prompts, tokenizer = cell.prompts, model.require_tokenizer()
    zero_shot, icl = prompts.zero_shot, prompts.icl
    labels = zip(task.label_names, icl.label_ids[place], strict=True)
    return PromptView(
        model=model.name,
        task=task.name,
        template=task.template.name,
        query_index=cell.queries[place],
        gold=task.label_names[icl.gold[place]],
        chat_template=prompts.chat_template,
        separator=prompts.separator,
        template_separator=task.template.separator,
        zero_shot=_whole(tokenizer, zero_shot, place),
        icl=_whole(tokenizer, icl, place),
        options={name: _part(tokenizer, name, ids) for name, ids in labels},
        demonstrations_used=prompts.demonstrations_used,
        demonstrations_asked=prompts.demonstrations_asked,
        longest=icl.longest,
        context_length=model.context_length,
        notes=prompts.notes,
    )


def _whole(tokenizer: PreTrainedTokenizerBase, setting: PromptSet, place: int) -> WholePrompt:
    ids = setting.full_ids(place)
    parts = tuple(
        _part(tokenizer, _part_name(span), ids[span.start : span.stop]) for span in setting.spans(place)
    )
    return WholePrompt(_decoded(tokenizer, ids), parts)


def _part_name(span: Span) -> str:
    return _PART_NAMES[span.name].format(number=(span.demonstration or 0) + 1)


def _part(tokenizer: PreTrainedTokenizerBase, name: str, ids: tuple[int, ...]) -> PromptPart:
    tokens = tuple(str(token) for token in tokenizer.convert_ids_to_tokens(list(ids)))
    return PromptPart(name, _decoded(tokenizer, ids), ids, tokens)


def _decoded(tokenizer: PreTrainedTokenizerBase, ids: tuple[int, ...]) -> str:
    return str(tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))
