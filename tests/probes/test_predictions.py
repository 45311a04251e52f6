"""Accuracy, Rec2FTP, Jaccard and the partition of changes, against literal sets and hand-worked examples."""

from __future__ import annotations

import math

import pytest
import torch

from iclprobe.probes import (
    PredictionChanges,
    Ratio,
    accuracy,
    calibrated_accuracy,
    calibrated_prediction,
    changed_predictions,
    correct_over_labels,
    correct_over_vocabulary,
    jaccard,
    prediction_changes,
    rec2ftp,
)

# Ten queries, labels 0, 1, 2; what happens to each:
#   0 stays right        1 both right, same        2 both wrong, same       3 both wrong, different
#   4 ICL right, FT wrong (both moved)             5 ICL only, right        6 ICL only, wrong
#   7 FT only, right     8 FT only, wrong          9 stays wrong
GOLD = torch.tensor([0, 1, 1, 0, 1, 2, 0, 2, 1, 0])
ZSL = torch.tensor([0, 0, 0, 0, 0, 0, 0, 1, 1, 1])
ICL = torch.tensor([0, 1, 2, 1, 1, 2, 1, 1, 1, 1])
FT = torch.tensor([0, 1, 2, 2, 2, 0, 0, 2, 0, 1])


def counts(ratio: Ratio) -> tuple[int, int]:
    return ratio.numerator, ratio.denominator


def test_jaccard_by_hand():
    # ICL moved 1-6 (6), FT moved 1-4, 7, 8 (6). The same new label: 1 and 2. Both moved: 1-4.
    same = jaccard(ZSL, ICL, FT, GOLD)
    assert same.agreement == "same_label"
    assert counts(same.all) == (2, 10)
    assert counts(same.correct) == (1, 4)  # ICL 1, 4, 5; FT 1, 7; shared 1
    assert counts(same.incorrect) == (1, 6)  # ICL 2, 3, 6; FT 2, 3, 4, 8; shared 2, not 3
    assert same.all.percent == pytest.approx(20.0)
    changed = jaccard(ZSL, ICL, FT, GOLD, "changed")
    assert counts(changed.all) == (4, 8)
    assert counts(changed.correct) == (1, 4)
    assert counts(changed.incorrect) == (2, 5)  # shared 2 and 3


def test_partition_by_hand():
    assert prediction_changes(ZSL, ICL, FT, GOLD) == PredictionChanges(
        agreement="same_label",
        shared_correct=1,
        shared_incorrect=1,
        shared_mixed=0,
        icl_correct=2,
        icl_incorrect=2,
        ft_correct=1,
        ft_incorrect=3,
        union=10,
    )
    changed = prediction_changes(ZSL, ICL, FT, GOLD, "changed")
    assert changed == PredictionChanges(
        agreement="changed",
        shared_correct=1,
        shared_incorrect=2,
        shared_mixed=1,
        icl_correct=1,
        icl_incorrect=1,
        ft_correct=1,
        ft_incorrect=1,
        union=8,
    )
    assert (changed.shared, changed.icl_only, changed.ft_only) == (4, 2, 2)


def test_rec2ftp_by_hand():
    result = rec2ftp(ZSL == GOLD, ICL == GOLD, FT == GOLD)
    assert counts(result) == (1, 2)  # finetuning put 1 and 7 right, ICL of these 1
    assert result.percent == pytest.approx(50.0)


def test_accuracy_and_changes_by_hand():
    assert counts(accuracy(correct_over_labels(ZSL, GOLD))) == (4, 10)  # 0, 3, 6, 8
    assert counts(accuracy(correct_over_labels(ICL, GOLD))) == (5, 10)  # 0, 1, 4, 5, 8
    assert counts(changed_predictions(ZSL, ICL)) == (6, 10)
    assert changed_predictions(ZSL, FT).percent == pytest.approx(60.0)


def test_calibration_takes_off_what_a_label_has_in_all_queries():
    logprobs = torch.tensor([[-0.1, -3.0], [-0.2, -2.0], [-0.1, -1.0], [-0.2, -2.6]])
    gold = torch.tensor([0, 1, 1, 0])
    assert logprobs.argmax(1).tolist() == [0, 0, 0, 0]
    # The means are -0.15 and -2.15, so the second word is likelier than usual by 0.15 and 1.15 in the middle queries.
    assert calibrated_prediction(logprobs).tolist() == [0, 1, 1, 0]
    ratio = calibrated_accuracy(logprobs, gold)
    assert (ratio.numerator, ratio.denominator) == (4, 4)
    interval = ratio.interval(seed=0, resamples=50)
    assert float(interval.low) == float(interval.high) == 100.0


def test_calibration_equals_the_literal_definition_and_ignores_a_constant_of_a_label():
    generator = torch.Generator().manual_seed(0)
    logprobs = torch.randn(40, 3, generator=generator)
    literal = []
    for query in range(40):
        left = [float(logprobs[query, c]) - sum(map(float, logprobs[:, c])) / 40 for c in range(3)]
        literal.append(left.index(max(left)))
    assert calibrated_prediction(logprobs).tolist() == literal
    shifted = logprobs + torch.tensor([5.0, -2.0, 0.25])
    assert calibrated_prediction(shifted).tolist() == literal


def test_an_impossible_label_is_never_taken_and_a_single_query_has_no_calibration():
    logprobs = torch.tensor([[-1.0, -torch.inf], [-2.0, -1.0], [-3.0, -3.0]])
    assert calibrated_prediction(logprobs).tolist() == [0, 1, 0]
    alone = calibrated_accuracy(torch.tensor([[-1.0, -2.0]]), torch.tensor([0]))
    assert alone.denominator == 0 and math.isnan(alone.percent)
    with pytest.raises(ValueError, match="label_logprobs"):
        calibrated_prediction(torch.tensor([1.0, 2.0]))


def test_full_vocabulary_asks_for_the_gold_label_only():
    is_argmax = torch.tensor([[True, False], [True, False], [False, False], [True, True]])
    gold = torch.tensor([0, 1, 0, 1])
    assert correct_over_vocabulary(is_argmax, gold).tolist() == [True, False, False, True]


def literal_sets(agreement, zsl, icl, ft, gold):
    """Sets of changes: of (query, new label) pairs under same_label, of queries under changed."""

    def changes(prediction, kind):
        found = set()
        for i in range(len(gold)):
            right = prediction[i] == gold[i]
            if prediction[i] != zsl[i] and kind in ("all", "correct" if right else "incorrect"):
                found.add((i, prediction[i]) if agreement == "same_label" else i)
        return found

    result = {}
    for kind in ("all", "correct", "incorrect"):
        by_icl, by_ft = changes(icl, kind), changes(ft, kind)
        result[kind] = (len(by_icl & by_ft), len(by_icl | by_ft))
    return result


@pytest.mark.parametrize("agreement", ["same_label", "changed"])
@pytest.mark.parametrize("options", [2, 3, 5])
def test_jaccard_and_partition_equal_literal_sets(agreement, options):
    generator = torch.Generator().manual_seed(options)
    zsl, icl, ft, gold = torch.randint(options, (4, 200), generator=generator)
    expected = literal_sets(agreement, zsl.tolist(), icl.tolist(), ft.tolist(), gold.tolist())
    result = jaccard(zsl, icl, ft, gold, agreement)
    assert counts(result.all) == expected["all"]
    assert counts(result.correct) == expected["correct"]
    assert counts(result.incorrect) == expected["incorrect"]
    parts = prediction_changes(zsl, icl, ft, gold, agreement)
    assert (parts.shared, parts.union) == expected["all"]
    assert parts.shared_correct == expected["correct"][0]
    assert parts.shared_incorrect == expected["incorrect"][0]


def test_the_index_over_all_changes_is_the_mediant_under_same_label_only():
    generator = torch.Generator().manual_seed(9)
    zsl, icl, ft, gold = torch.randint(5, (4, 500), generator=generator)

    def mediant(agreement) -> tuple[int, int]:
        result = jaccard(zsl, icl, ft, gold, agreement)
        return (
            result.correct.numerator + result.incorrect.numerator - result.all.numerator,
            result.correct.denominator + result.incorrect.denominator - result.all.denominator,
        )

    assert mediant("same_label") == (0, 0)
    assert mediant("changed") != (0, 0)


def test_two_labels_make_both_agreements_the_same():
    generator = torch.Generator().manual_seed(2)
    zsl, icl, ft, gold = torch.randint(2, (4, 100), generator=generator)
    same, changed = (jaccard(zsl, icl, ft, gold, rule) for rule in ("same_label", "changed"))
    assert counts(same.all) == counts(changed.all)
    assert counts(same.incorrect) == counts(changed.incorrect)
    assert prediction_changes(zsl, icl, ft, gold, "changed").shared_mixed == 0


def test_the_counts_of_cb_in_table_1_decompose_exactly():
    # 22/24 = 91.7, 14/21 = 66.7 and 36/45 = 80.0: 22 shared right, 14 shared wrong, 2 + 7 unshared.
    shared_right, shared_wrong, only_right, only_wrong = 22, 14, 2, 7
    zsl = torch.zeros(45, dtype=torch.long)
    icl = torch.ones(45, dtype=torch.long)
    ft = torch.cat([torch.ones(shared_right + shared_wrong), torch.zeros(only_right + only_wrong)]).long()
    gold = torch.cat(
        [torch.full((size,), label) for size, label in ((shared_right, 1), (shared_wrong, 2))]
        + [torch.full((size,), label) for size, label in ((only_right, 1), (only_wrong, 2))]
    )
    result = jaccard(zsl, icl, ft, gold)
    found = [round(part.percent, 1) for part in (result.all, result.correct, result.incorrect)]
    assert found == [80.0, 91.7, 66.7]


def test_no_change_gives_nan_beside_its_counts():
    result = jaccard(ZSL, ZSL, ZSL, GOLD)
    for part in (result.all, result.correct, result.incorrect):
        assert counts(part) == (0, 0)
        assert math.isnan(part.percent)
    assert prediction_changes(ZSL, ZSL, ZSL, GOLD).union == 0
    assert changed_predictions(ZSL, ZSL).percent == 0.0
    interval = result.all.interval(seed=0, resamples=50)
    assert interval.estimate.isnan() and interval.low.isnan()
    assert int(interval.undefined) == 50


def test_no_correct_change():
    wrong = torch.full_like(GOLD, 7)
    result = jaccard(ZSL, wrong, wrong, GOLD)
    assert counts(result.all) == (10, 10)
    assert math.isnan(result.correct.percent)
    assert result.incorrect.percent == 100.0
    right = torch.tensor([True, False])
    assert math.isnan(rec2ftp(right, right, right).percent)
    assert counts(rec2ftp(right, right, right)) == (0, 0)


def test_one_query_and_none():
    one = jaccard(ZSL[1:2], ICL[1:2], FT[1:2], GOLD[1:2])
    assert one.all.percent == 100.0
    assert one.all.interval(seed=0).low.isnan()
    none = accuracy(torch.zeros(0, dtype=torch.bool))
    assert counts(none) == (0, 0)
    assert math.isnan(none.percent)


def test_intervals_are_in_percent_and_hold_the_estimate():
    generator = torch.Generator().manual_seed(4)
    ratio = accuracy(torch.rand(200, generator=generator) < 0.7)
    interval = ratio.interval(seed=0)
    assert float(interval.estimate) == pytest.approx(ratio.percent)
    # A proportion of about 0.7 among 200 has a standard error of 3.24 points; 95% is 12.7 points wide.
    assert 11 < float(interval.high - interval.low) < 14.5
    assert interval.low < interval.estimate < interval.high


def test_an_interval_has_2000_resamples_and_the_level_that_was_asked_for():
    ratio = accuracy(torch.tensor([True, False] * 20))
    default, half = ratio.interval(seed=0), ratio.interval(seed=0, level=0.5)
    assert (default.resamples, default.level, half.level) == (2000, 0.95, 0.5)
    assert half.high - half.low < default.high - default.low


def test_counts_are_integers():
    for ratio in (
        accuracy(ZSL == GOLD),
        calibrated_accuracy(torch.zeros(10, 3), GOLD.to(torch.uint8)),
        rec2ftp(ZSL == GOLD, ICL == GOLD, FT == GOLD),
    ):
        assert ratio.numerators.dtype == ratio.denominators.dtype == torch.int64


def test_calibration_of_two_queries_counts_both():
    logprobs = torch.tensor([[-1.0, -2.0], [-1.0, -4.0]])
    # Less the means -1 and -3: (0, 1) and (0, -1).
    assert calibrated_prediction(logprobs).tolist() == [1, 0]
    assert counts(calibrated_accuracy(logprobs, torch.tensor([1, 1]))) == (1, 2)


def test_an_option_that_is_possible_once_is_compared_with_itself():
    impossible = -math.inf
    logprobs = torch.tensor([[-5.0, -1.0], [impossible, -1.5], [impossible, -2.0], [impossible, impossible]])
    # Of the first option -5 - -5 = 0, of the second -1 - -1.5 = 0.5 where both are possible.
    assert calibrated_prediction(logprobs)[:3].tolist() == [1, 1, 1]
    logprobs[0, 1] = -1.9
    # Mean of the second is -1.8 now, and -1.9 is less than it.
    assert calibrated_prediction(logprobs)[0].item() == 0


def every_call_with_one_argument_changed(change):
    """Calls of every measure of predictions, in which one tensor of the same queries is another."""
    right = {"zsl": ZSL == GOLD, "icl": ICL == GOLD, "ft": FT == GOLD}
    labels = torch.eye(3, dtype=torch.bool)[ICL]
    calls = [
        (Ratio, [torch.zeros_like(GOLD), torch.ones_like(GOLD)]),
        (accuracy, [right["zsl"]]),
        (correct_over_labels, [ICL, GOLD]),
        (correct_over_vocabulary, [labels, GOLD]),
        (calibrated_accuracy, [torch.zeros(10, 3), GOLD]),
        (rec2ftp, list(right.values())),
        (changed_predictions, [ZSL, ICL]),
        (jaccard, [ZSL, ICL, FT, GOLD]),
        (prediction_changes, [ZSL, ICL, FT, GOLD]),
    ]
    for measure, arguments in calls:
        measure(*arguments)
        for place in range(len(arguments)):
            yield measure, [change(a) if i == place else a for i, a in enumerate(arguments)]


def test_every_measure_wants_one_value_for_each_query():
    for measure, arguments in every_call_with_one_argument_changed(lambda tensor: tensor[:1]):
        if len(arguments) > 1:
            with pytest.raises(ValueError, match=r"one value per query, \[N\], for all"):
                measure(*arguments)
    for measure, arguments in every_call_with_one_argument_changed(lambda tensor: tensor[None]):
        with pytest.raises(ValueError, match=r"\[N\]|\[N, C\]"):
            measure(*arguments)
    with pytest.raises(ValueError, match=r"\[N\], for all"):
        correct_over_labels(ICL[None], GOLD[None])


def test_what_must_be_true_or_false_is():
    right = [ZSL == GOLD, ICL == GOLD, FT == GOLD]
    for place in range(3):
        with pytest.raises(ValueError, match=r"values of torch\.bool"):
            rec2ftp(*(r.long() if i == place else r for i, r in enumerate(right)))
    with pytest.raises(ValueError, match=r"label_is_argmax \[N, C\] of torch\.bool, got \(10, 3\)"):
        correct_over_vocabulary(torch.eye(3, dtype=torch.long)[ICL], GOLD)
    with pytest.raises(ValueError, match=r"label_is_argmax \[N, C\] of torch\.bool, got \(10,\)"):
        correct_over_vocabulary(right[0], GOLD)
    with pytest.raises(ValueError, match=r"label_logprobs \[N, C\], got \(10, 3\) of torch.int64"):
        calibrated_prediction(torch.zeros(10, 3, dtype=torch.long))


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r"pred_icl.*\(9,\)"):
        jaccard(ZSL, ICL[:9], FT, GOLD)
    with pytest.raises(ValueError, match="unknown agreement 'any'"):
        jaccard(ZSL, ICL, FT, GOLD, "any")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"torch\.bool"):
        accuracy(ZSL)
    with pytest.raises(ValueError, match=r"0\.\.1, got \[2\]"):
        correct_over_vocabulary(torch.ones(1, 2, dtype=torch.bool), torch.tensor([2]))
    for gold in ([0, -1], [-1, 1], [1, 2]):
        with pytest.raises(ValueError, match=r"gold must lie in 0\.\.1"):
            correct_over_vocabulary(torch.ones(2, 2, dtype=torch.bool), torch.tensor(gold))
    nobody = torch.zeros(0, dtype=torch.long)
    assert correct_over_vocabulary(torch.ones(0, 2, dtype=torch.bool), nobody).tolist() == []
    with pytest.raises(ValueError, match="2 over 1 for 1 queries"):
        Ratio(torch.tensor([2]), torch.tensor([1]))
    with pytest.raises(ValueError, match="-1 over 1 for 1 queries"):
        Ratio(torch.tensor([-1]), torch.tensor([1]))
    with pytest.raises(ValueError, match="do not add up"):
        PredictionChanges("changed", 1, 0, 0, 0, 0, 0, 0, union=2)
