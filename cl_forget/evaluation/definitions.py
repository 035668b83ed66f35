"""What each metric is, in one sentence."""

from __future__ import annotations

from cl_forget.evaluation.metrics import ECE_BINS

DEFINITIONS: dict[str, str] = {
    "speciality": "mean accuracy over the stream's tasks after the last stage: mean_i R[T,i]",
    "speciality_by_task": "accuracy on each task after the last stage: R[T,i]",
    "speciality_pretrained": "mean accuracy over the stream's tasks of the pre-trained model: mean_i R[0,i]",
    "generality": "mean accuracy over the suites after the last stage: mean_k G[T,k]; suites measured by "
    "perplexity have no accuracy and are left out here and in what follows from it",
    "generality_by_suite": "accuracy on each suite after the last stage: G[T,k]",
    "generality_pretrained": "mean accuracy over the suites of the pre-trained model: mean_k G[0,k]",
    "retention": "share of the pre-trained generality that is left: mean_k G[T,k] / mean_k G[0,k]",
    "generality_drop": "mean over suites of G[0,k] - G[T,k]",
    "generality_drop_by_suite": "G[0,k] - G[T,k]",
    "generality_restored": "generality after the last stage with the pre-trained model's BatchNorm statistics put "
    "back, everything else as tuned; measured where training changed them",
    "speciality_restored": "mean accuracy over the stream's tasks after the last stage, likewise",
    "statistics_share": "share of the lost generality that comes back with those statistics: (generality_restored - "
    "mean_k G[T,k]) / (mean_k G[0,k] - mean_k G[T,k]); missing where nothing was lost",
    "f_true": "F_true: mean over suites of max(n_{1→0}/n - (1-a_pre)(1-a_post)/(k-1), 0), the share of the samples "
    "that the pre-trained model has right and the tuned one wrong, beyond what guessing among k choices changes",
    "f_true_by_suite": "F_true of each suite",
    "bt_true": "BT_true: the same of n_{0→1}, wrong before and right after",
    "bt_true_by_suite": "BT_true of each suite",
    "generality_adjusted": "mean over suites of the final accuracy without guessing, max((k·a-1)/(k-1), 0)",
    "speciality_adjusted": "mean over tasks of the final accuracy without guessing, max((k·a-1)/(k-1), 0)",
    "delta_zs": "Δ_ZS: mean over suites of zero-shot accuracy now minus pre-trained, G[T,k] - G[0,k]",
    "delta_zs_by_suite": "Δ_ZS per suite: G[T,k] - G[0,k]",
    "general_ability_delta": "TRACE's general ability delta ΔR^G_T: mean over suites of the general ability "
    "after the last stage minus that of the pre-trained model",
    "perplexity_by_suite": "perplexity of each suite measured by it, after the last stage",
    "perplexity_rise_by_suite": "ln PPL_T - ln PPL_0 of each suite measured by perplexity, nats per token",
    "perplexity_rise": "mean over suites of perplexity_rise_by_suite",
    "delta_lp": "Δ_LP: mean over probe tasks that are never tuned on of A_LP(θ_T) - A_LP(θ0), "
    "A_LP = accuracy of a linear probe on frozen L2-normalised features",
    "delta_lp_by_probe": "A_LP(θ_T, D) - A_LP(θ0, D) for each probe task D that is never tuned on",
    "delta_lp_before_tuning": "mean over tasks i >= 2 of A_LP(θ_{i-1}, D_i) - A_LP(θ0, D_i): what the "
    "earlier stages did to the features of a task still to come",
    "delta_lp_before_tuning_by_task": "A_LP(θ_{i-1}, D_i) - A_LP(θ0, D_i), i >= 2",
    "forgetting_last": "mean over tasks i < T of R[i,i] - R[T,i]",
    "forgetting_last_by_task": "R[i,i] - R[T,i], i < T",
    "forgetting_max": "mean over tasks i < T of max_{0<=t<=T} R[t,i] - R[T,i]; the pre-trained row counts",
    "forgetting_max_by_task": "max_{0<=t<=T} R[t,i] - R[T,i], every task; the pre-trained row counts",
    "bwt": "backward transfer: mean over tasks i < T of R[T,i] - R[i,i], the negative of forgetting_last",
    "fwt": "forward transfer: mean over tasks i >= 2 of R[i-1,i] - R[0,i], against the pre-trained model",
    "fwt_by_task": "R[i-1,i] - R[0,i], i >= 2",
    "mtil_transfer": "MTIL Transfer: mean over tasks i >= 2 of mean_{1<=j<i} R[j,i]",
    "mtil_avg": "MTIL Avg: mean over tasks i of mean_{1<=j<=T} R[j,i]",
    "mtil_last": "MTIL Last: mean_i R[T,i]",
    "ood_accuracy": "mean over tasks of ood_accuracy_by_task; missing unless every task has a shifted set",
    "ood_accuracy_by_task": "mean accuracy over the task's shifted test sets after the last stage",
    "ood_accuracy_pretrained": "the same of the pre-trained model: mean over tasks of ood_accuracy_by_task",
    "ece": "mean over tasks of the expected calibration error after the last stage, "
    f"{ECE_BINS} equal-width bins",
    "hardest_decile_accuracy": "mean over tasks, after the last stage, of the accuracy on the tenth of the "
    "samples with the largest pre-trained loss",
    "kl_to_base": "mean over tasks of the mean KL(p_θ0 ‖ p_θ) after the last stage, nats",
    "weight_distance": "‖θ_T - θ0‖ over the shared parameters, L2",
    "effective_robustness": "OOD accuracy minus the OOD accuracy that a line through the baseline points, on "
    "logit axes, predicts at the same ID accuracy",
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
