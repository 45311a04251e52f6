"""The seven datasets of the two papers, with the templates and label words of both.

`dai` is the variant of Bar Natan et al. and of Dai et al. 2023, whose code it follows: one line, with the
end-of-sequence token after each demonstration. `shen` is the variant of Shen et al., who state no template;
it is the format of Zhao et al. 2021 ("Calibrate before use"), which the first author's other work uses, and
it exists for the four datasets of that paper. Label words stand in the order of the dataset's label ids,
which for RTE and CB is not the order in which that format lists them.
"""

from __future__ import annotations

from .entry import TaskEntry
from .task import END_OF_SEQUENCE, Template


def _dai(query: str, *label_words: str) -> Template:
    return Template("dai", query, label_words, END_OF_SEQUENCE)


def _shen(query: str, *label_words: str) -> Template:
    return Template("shen", query, label_words, "\n\n")


PUBLISHED_TASKS: tuple[TaskEntry, ...] = (
    TaskEntry(
        name="sst2",
        description="Movie review sentences, two sentiments",
        hub_id="nyu-mll/glue",
        hub_config="sst2",
        columns={"sentence": "text"},
        label_names=("negative", "positive"),
        templates=(
            _dai("Sentence: {text} Label:", "Negative", "Positive"),
            _shen("Review: {text}\nSentiment:", "Negative", "Positive"),
        ),
    ),
    TaskEntry(
        name="sst5",
        description="Movie review sentences, five grades of sentiment",
        hub_id="SetFit/sst5",
        label_names=("very negative", "negative", "neutral", "positive", "very positive"),
        templates=(_dai("Sentence: {text} Label:", "terrible", "bad", "neutral", "good", "great"),),
    ),
    TaskEntry(
        name="mr",
        description="Movie reviews, two sentiments",
        hub_id="cornell-movie-review-data/rotten_tomatoes",
        label_names=("negative", "positive"),
        templates=(_dai("Review: {text} Sentiment:", "Negative", "Positive"),),
    ),
    TaskEntry(
        name="subj",
        description="Sentences that report or that judge",
        hub_id="SetFit/subj",
        evaluation_split="test",
        label_names=("objective", "subjective"),
        templates=(_dai("Input: {text} Type:", "objective", "subjective"),),
    ),
    TaskEntry(
        name="agnews",
        description="News, four topics",
        hub_id="fancyzhx/ag_news",
        evaluation_split="test",
        label_names=("World", "Sports", "Business", "Sci/Tech"),
        templates=(
            _dai(
                "Classify the news articles into the categories of World, Sports, Business, and Technology. "
                "Article: {text} Answer:",
                *("World", "Sports", "Business", "Technology"),
            ),
            _shen("Article: {text}\nAnswer:", "World", "Sports", "Business", "Technology"),
        ),
    ),
    TaskEntry(
        name="cb",
        description="Does a passage entail, contradict or leave open a sentence",
        hub_id="aps/super_glue",
        hub_config="cb",
        label_names=("entailment", "contradiction", "neutral"),
        templates=(
            _dai(
                "{premise} Question: {hypothesis}. True, False, or Neither? Answer:",
                *("True", "False", "Neither"),
            ),
            _shen(
                "{premise}\nquestion: {hypothesis}. true, false, or neither?\nanswer:",
                *("true", "false", "neither"),
            ),
        ),
    ),
    TaskEntry(
        name="rte",
        description="Does a passage entail a sentence",
        hub_id="nyu-mll/glue",
        hub_config="rte",
        columns={"sentence1": "premise", "sentence2": "hypothesis"},
        label_names=("entailment", "not_entailment"),
        templates=(
            _dai("Passage: {premise} Question: {hypothesis} Yes or No? Answer:", "Yes", "No"),
            # The single space at the front is that format's question prefix for RTE.
            _shen(" {premise}\nquestion: {hypothesis} True or False?\nanswer:", "True", "False"),
        ),
    ),
)
