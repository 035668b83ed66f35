"""What each metric is, in a sentence that anybody can read; `formulas` has what is typeset beside it.

Names from the code do not stand here, as the sentences are read where there is no code. R(j, i) is the accuracy on
task i after stage j, G(j, k) that on suite k; stage 0 is the pre-trained model, T the last stage.
"""

from __future__ import annotations

from cl_forget.evaluation.metrics import ECE_BINS

DEFINITIONS: dict[str, str] = {
    "speciality": "mean accuracy over the stream's tasks after the last stage",
    "speciality_by_task": "accuracy on each task after the last stage: R(T, i)",
    "speciality_pretrained": "mean accuracy of the pre-trained model over the stream's tasks: (1/T) Σᵢ R(0, "
    "i)",
    "generality": "mean accuracy over the suites after the last stage; suites measured by perplexity have no "
    "accuracy and are left out here and in what follows from it",
    "generality_by_suite": "accuracy on each suite after the last stage: G(T, k)",
    "generality_pretrained": "mean accuracy of the pre-trained model over the suites: (1/K) Σₖ G(0, k)",
    "retention": "share of the pre-trained model's generality that is left after the last stage",
    "generality_drop": "mean accuracy lost on the suites since the pre-trained model",
    "generality_drop_by_suite": "accuracy lost on each suite since the pre-trained model: G(0, k) − G(T, k)",
    "generality_restored": "generality after the last stage with the pre-trained model's BatchNorm "
    "statistics put back, everything else as tuned; measured where training changed them",
    "speciality_restored": "mean accuracy over the stream's tasks after the last stage, with the pre-trained "
    "model's BatchNorm statistics put back, everything else as tuned",
    "statistics_share": "share of the lost generality that comes back with the pre-trained model's BatchNorm "
    "statistics; missing where nothing was lost",
    "f_true": "true forgetting: the mean over suites of the share of samples that the pre-trained model has "
    "right and the tuned one wrong, beyond what guessing among the choices changes",
    "f_true_by_suite": "true forgetting of each suite: the share of samples lost beyond what guessing "
    "changes",
    "bt_true": "true backward transfer: the same of samples that the pre-trained model has wrong and the "
    "tuned one right",
    "bt_true_by_suite": "true backward transfer of each suite: the share of samples gained beyond what "
    "guessing changes",
    "generality_adjusted": "mean over suites of the accuracy after the last stage without what guessing "
    "among c choices gives: max((c·a − 1)/(c − 1), 0)",
    "speciality_adjusted": "mean over tasks of the accuracy after the last stage without what guessing among "
    "c choices gives: max((c·a − 1)/(c − 1), 0)",
    "delta_zs": "mean change of the zero-shot accuracy on the suites since the pre-trained model",
    "delta_zs_by_suite": "change of the zero-shot accuracy on each suite since the pre-trained model: G(T, "
    "k) − G(0, k)",
    "general_ability_delta": "TRACE's general ability delta ΔRᴳ: the mean change of the general ability over "
    "the suites since the pre-trained model, after the last stage",
    "perplexity_by_suite": "perplexity of each suite measured by it, after the last stage",
    "perplexity_rise_by_suite": "rise of the logarithm of the perplexity of each suite measured by it, in "
    "nats per token: ln PPL(T) − ln PPL(0)",
    "perplexity_rise": "mean over the suites measured by perplexity of the rise of its logarithm, in nats "
    "per token",
    "delta_lp": "change of a linear probe's accuracy since the pre-trained model, the mean over probe tasks "
    "that are never tuned on; the probe is a linear classifier on the model's frozen L2-normalised features",
    "delta_lp_by_probe": "change of a linear probe's accuracy on a probe task that is never tuned on",
    "delta_lp_before_tuning": "what the earlier stages did to the features of a task still to come: the "
    "change of a linear probe's accuracy on it, the mean over all tasks but the first",
    "delta_lp_before_tuning_by_task": "what the earlier stages did to the features of a task before its "
    "turn: the change of a linear probe's accuracy on it",
    "forgetting_last": "accuracy lost on a task since it was trained, the mean over all tasks but the last",
    "forgetting_last_by_task": "accuracy lost on each task since it was trained: R(i, i) − R(T, i), i < T",
    "forgetting_max": "accuracy lost on a task since it was best, the mean over all tasks but the last; the "
    "pre-trained model counts, too",
    "forgetting_max_by_task": "accuracy lost on each task since it was best: max over 0 ≤ t ≤ T of R(t, i), "
    "minus R(T, i); the pre-trained model counts, too",
    "bwt": "backward transfer: what later tasks changed of the accuracy on earlier ones, the mean over all "
    "tasks but the last",
    "fwt": "forward transfer: what earlier tasks changed of the accuracy on a task before its turn, against "
    "the pre-trained model, the mean over all tasks but the first",
    "fwt_by_task": "what earlier tasks changed of the accuracy on each task before its turn, against the "
    "pre-trained model: R(i − 1, i) − R(0, i), i ≥ 2",
    "mtil_transfer": "MTIL Transfer: accuracy on a task before its turn, the mean over the stages before it "
    "and then over all tasks but the first: R(j, i), 1 ≤ j < i",
    "mtil_avg": "MTIL Avg: accuracy on every task after every stage, the mean of all: (1/T²) Σᵢ Σⱼ R(j, i), "
    "1 ≤ j ≤ T",
    "mtil_last": "MTIL Last: mean accuracy over the tasks after the last stage: (1/T) Σᵢ R(T, i)",
    "ood_accuracy": "mean accuracy over the shifted test sets of each task after the last stage, then over "
    "tasks; missing unless every task has a shifted set",
    "ood_accuracy_by_task": "mean accuracy over the task's shifted test sets after the last stage",
    "ood_accuracy_pretrained": "mean accuracy of the pre-trained model over the shifted test sets of each "
    "task, then over tasks",
    "ece": "expected calibration error after the last stage, how far confidence and accuracy lie apart, "
    f"the mean over tasks; {ECE_BINS} equal-width bins",
    "hardest_decile_accuracy": "accuracy after the last stage on the tenth of the samples with the largest "
    "loss under the pre-trained model, the mean over tasks",
    "kl_to_base": "how far the answers have moved from the pre-trained model's after the last stage: the "
    "mean over samples and tasks of the Kullback-Leibler divergence from its answers, nats",
    "weight_distance": "how far the shared parameters have moved from the pre-trained ones, L2",
    "effective_robustness": "accuracy on shifted data minus what a line through the baseline points, on "
    "logit axes, predicts at the same accuracy on the task's own data",
    "pareto_front": "the points that no other point equals or beats on both axes and beats on one",
    "hypervolume": "area between the stated reference point and the front of (speciality, generality)",
    "target_at_equal_retention": "speciality where the method's one-knob curve, linear between its points, "
    "crosses the given retention; the best crossing; missing where the curve does not reach it",
    "retention_at_equal_target": "retention where the method's one-knob curve, linear between its points, "
    "crosses the given speciality; the best crossing; missing where the curve does not reach it",
    "mean_interval": "mean over seeds with its 95 % interval from Student's t",
    "paired_difference": "mean over common seeds of the difference, with its 95 % interval from Student's t",
}
"""One line per metric: its definition, shown by reports."""
