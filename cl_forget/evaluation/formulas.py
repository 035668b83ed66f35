r"""The formulas of metrics, to be typeset beside their sentences; in the part of TeX that
`cl_forget.reporting.html.mathml` reads.

Signs: R_{j,i} is the accuracy on task i after stage j, stage 0 being the pre-trained model and T the last one;
G_{j,k} that on suite k; θ_0 are the weights of the pre-trained model and θ_T those of the tuned one; A_{LP} is the
accuracy of a linear probe on frozen features; there are K suites, D probe tasks and S seeds.
"""

from __future__ import annotations

_TASKS, _SUITES = r"\frac{1}{T}\sum_{i=1}^{T}", r"\frac{1}{K}\sum_{k=1}^{K}"

FORMULAS: dict[str, str] = {
    "speciality": rf"{_TASKS} R_{{T,i}}",
    "task": r"R_{T,i}",
    "accuracy": r"R_{j,i}",
    "generality": rf"{_SUITES} G_{{T,k}}",
    "suite": r"G_{T,k}",
    "retention": r"\frac{\sum_k G_{T,k}}{\sum_k G_{0,k}}",
    "generality_drop": rf"{_SUITES} (G_{{0,k}} - G_{{T,k}})",
    "statistics_share": r"\frac{\text{restored} - \text{tuned}}{\text{before} - \text{tuned}}",
    "perplexity_rise": rf"{_SUITES} (\ln P_{{T,k}} - \ln P_{{0,k}})",
    "bwt": r"\frac{1}{T-1}\sum_{i=1}^{T-1} (R_{T,i} - R_{i,i})",
    "fwt": r"\frac{1}{T-1}\sum_{i=2}^{T} (R_{i-1,i} - R_{0,i})",
    "forgetting_last": r"\frac{1}{T-1}\sum_{i=1}^{T-1} (R_{i,i} - R_{T,i})",
    "forgetting_max": r"\frac{1}{T-1}\sum_{i=1}^{T-1} (\max_{0 \le t \le T} R_{t,i} - R_{T,i})",
    "delta_zs": rf"{_SUITES} (G_{{T,k}} - G_{{0,k}})",
    "delta_lp": r"\frac{1}{D}\sum_{d=1}^{D} (A_{LP}(\theta_T, d) - A_{LP}(\theta_0, d))",
    "probe": r"A_{LP}(\theta_T, d) - A_{LP}(\theta_0, d)",
    "pending": r"A_{LP}(\theta_{i-1}, i) - A_{LP}(\theta_0, i)",
    "f_true": rf"{_SUITES} \max(\frac{{n_{{1 \to 0}}}}{{n}} - \frac{{(1 - a_0)(1 - a_T)}}{{c - 1}}, 0)",
    "bt_true": rf"{_SUITES} \max(\frac{{n_{{0 \to 1}}}}{{n}} - \frac{{(1 - a_0)(1 - a_T)}}{{c - 1}}, 0)",
    "kl_to_base": r"\frac{1}{n}\sum_{x} \sum_{y} p_0(y \vert x) \ln \frac{p_0(y \vert x)}{p_T(y \vert x)}",
    "ece": r"\sum_{b} \frac{n_b}{n} \vert a_b - c_b \vert",
    "weight_distance": r"\Vert \theta_T - \theta_0 \Vert_2",
    "feature_drift": r"\frac{\sum_x \Vert f_T(x) - f_0(x) \Vert^2}{\sum_x \Vert f_0(x) \Vert^2}",
    "ood_accuracy": rf"{_TASKS} S_{{T,i}}",
    "perplexity": r"\exp(-\frac{1}{n}\sum_{t=1}^{n} \ln p(y_t \vert y_{1,\ldots,t-1}))",
    "cka": r"\frac{\Vert X_0^{\top} X_T \Vert^2}{\Vert X_0^{\top} X_0 \Vert \Vert X_T^{\top} X_T \Vert}",
    "relative_cost": r"\frac{t}{t_{c}}",
    "against": r"\frac{1}{S}\sum_{s=1}^{S} (m_s - m_{s,c})",
}
"""Metric -> formula; one of the metrics that there is for each task, suite or probe stands for all of them."""

SIGNS_TYPESET = {"R(j, i)": "R_{j,i}", "G(j, k)": "G_{j,k}", "θ₀": r"\theta_0", "A_LP": "A_{LP}"}
"""What stands in formulas and is defined beside them, as plain text -> typeset."""


def formula_of(measure: str) -> str | None:
    """The formula of a measure by its name in figures and tables; None where a sentence says all there is."""
    return FORMULAS.get(measure, FORMULAS.get(measure.partition(":")[0]) if ":" in measure else None)
