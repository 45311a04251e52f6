"""What has to be known beside a paper's number: where text and code disagree, and what stands for what.

D1 to D11 are the disagreements between the text of Bar Natan et al. and its public code; R-numbers are choices that a
definition leaves open, with the option that changes them.
"""

from __future__ import annotations

from collections.abc import Mapping

from .declaration import Experiment, Scale

POCKET = "pocket"
"""The footnote of every result at pocket scale."""

FOOTNOTES: Mapping[str, str] = {
    "D1": "The text records at the query's last token, the code at the label token of the first option. "
    "Here: the last "
    "token (R1); the code's with --set plan.positions=first_label_token.",
    "D2": "The text's random baseline is a random hidden state less the zero-shot one, the code's a "
    "vector from "
    "U[0,1)^d taken as the update, which is not centred. Here: a Gaussian update (R3), the mean over its "
    "draws.",
    "D3": "The text's Jaccard index counts a shared change where both changed; the code only where both "
    "changed to the "
    "same label, the one rule under which the paper's columns are consistent. Here: the code's (R6); the "
    "text's with "
    "--set agreement=changed.",
    "D4": "For AGNews and CB not all 32 demonstrations fit the published model's context, and the code "
    "finetunes on all "
    "of them. Here: finetuning takes those that were used in context; the code's with "
    "--set match_demonstrations=false.",
    "D5": "In other orders than the first, the code finetunes in another order than the context's. The "
    "paper's numbers "
    "are of the first order; here the two orders are always the same (R18).",
    "D6": "The text updates layers one after another, the code all at once from one forward. Here: the "
    "code's (R9); the "
    "text's is layer_updates: sequential in a recipe.",
    "D7": "The text projects each layer into the label space; the code takes the whole vocabulary and "
    "all tokens (R9). Here: the code's; the text's is loss_vocabulary: labels with loss_tokens: label in a "
    "recipe.",
    "D8": "The state of the code that fits the layer-causal numbers trains only the last layer in "
    "standard finetuning; "
    "the paper's standard numbers come from a state without that bug. Here: without it.",
    "D9": "The text clips at 12.0 in the l-infinity norm, the code at a global L2 norm of 12.0. Here: "
    "the code's (R10); "
    "the text's is clip: linf in a recipe.",
    "D10": "The logged gradients of untrained parameters are never cleared and so add up over "
    "demonstrations, and norms "
    "are sums over tokens with a loss scale of 4. Here: trained parameters, not accumulated, mean over "
    "tokens, fp32 "
    "(R11).",
    "D11": "SimAOU (FT) of SST5, .113 in the paper, is .080 in later states of the same code with the "
    "same seed and "
    "rate; with .080 layer-causal finetuning wins six of six.",
    "19.38": "The text's average difference of 19.38% relative to zero-shot accuracy does not follow "
    "from its Table 1: "
    "the mean of (ICL − FT) / ZSL is 15.1%, the mean of its absolute value 21.4%.",
    "nulls": "The paper's one null, a random update, accounts for chance alone. Here beside it: permuted pairs (the "
    "direction that all queries share), shared baseline (that, and the zero-shot output that both updates are taken "
    "from), and partial, SimAOU with both taken out, which is 0 where nothing particular to the query is in common.",
    "R12": "The place of K − |O| in Eq. 6 is uncertain: taken inside the square root, no overlap gives 0.",
    "R13": "How the deviations of tokens are aggregated is not stated (the text says both deviation and "
    "variances): sum "
    "over the vocabulary of the standard deviation over orders. Others with --set aggregate=sum_var, "
    "mean_std or l2.",
    "R14": "Thresholds are absolute, so they depend on the scale of a model's parameters. The "
    "constructed sparsity is for "
    "N_x = N_y = d / 2, which gives the paper's 99.99% and 75% for d = 4096.",
    "R15": "Absolute or squared difference is not stated: mean |ΔW| over W_Q, W_K, W_V and layers.",
    "R16": "Accuracy is over the whole vocabulary, as Shen et al. have it; over the label set it stands "
    "in the CSV file.",
    "R17": "The deep layer is one of those with l/L > 0.875 and the middle one with l/L from 0.5 to "
    "0.625, counted from "
    "1, which are 29–32 and 16–20 of 32; each candidate once where there are fewer than four.",
    "templates": "Shen et al. state no templates, decoding position or number of test queries; the "
    "templates are those of "
    "Zhao et al. 2021 and 500 queries are taken at paper scale.",
    "pythia": "GPT-J's checkpoints of steps 310k to 380k were never published. Pythia-6.9B's stand for "
    "them, at the same "
    "fractions of its training.",
    "qwen": "Qwen-7B comes with code of its own that transformers has no family for; Qwen1.5-7B stands "
    "for it.",
    "numbering": "Which of the figures is which dataset is not in the text that was at hand: the order "
    "of the paper's "
    "Section 5.1 is taken (AGNews, CB, SST-2, RTE).",
    "shots": "The number of demonstrations was lost from the text that was at hand: 4 are taken, as in "
    "Fig. 5.",
    "GD is order-stable": "Full-batch gradient descent takes its gradient over all demonstrations, so its "
    "sensitivity is rounding error by construction, which a rate at the edge of divergence amplifies; "
    "the informative arms are SGD and Adam with batches of one.",
    "512 fit": "At pocket scale, too, 512 demonstrations do not fit the context, and in-context learning "
    "is left out there.",
    "clip": "At pocket scale the limit is the same fraction of the first step's unclipped gradient norm "
    "(12 of 38.7).",
    "pocket": "The embedded model's corpus makes demonstrations count by construction, so pocket "
    "numbers say "
    "nothing about large models; they show that the experiment runs and what it measures.",
}


def footnotes_of(experiment: Experiment, scale: Scale) -> list[dict[str, str]]:
    """Return the footnotes of an experiment, each under its key.

    Args:
        experiment: The experiment.
        scale: At which scale it ran.
    """
    keys = [*experiment.footnotes, *([POCKET] if scale == "pocket" else [])]
    notes = [{"key": key, "text": FOOTNOTES[key]} for key in keys]
    if any(published.source != "text" for published in experiment.published):
        notes.insert(0, {"key": "*", "text": "read off a figure, or computed from the paper's formula"})
    return notes
