"""Every mitigation by name. A new method is one file and one line here.

From another package it is an entry point `cl_forget.mitigations`; from a file of one's own, `imports` in the
experiment or `--import` (see `cl_forget.method`).
"""

from __future__ import annotations

from cl_forget.mitigations.chain import Chain
from cl_forget.mitigations.protocol import PLACES, Mitigation
from cl_forget.mitigations.registry import Methods

MITIGATIONS = Methods(
    "mitigation",
    "cl_forget.mitigations",
    {
        "joint": "cl_forget.mitigations.joint:Joint",
        "early_stopping": "cl_forget.mitigations.early_stopping:EarlyStopping",
        "fewer_steps": "cl_forget.mitigations.fewer_steps:FewerSteps",
        "freeze": "cl_forget.mitigations.freeze:Freeze",
        "frozen_trunk": "cl_forget.mitigations.frozen_trunk:FrozenTrunk",
        "layer_decay": "cl_forget.mitigations.layer_decay:LayerDecay",
        "class_means": "cl_forget.mitigations.class_means:ClassMeans",
        "linear_probe": "cl_forget.mitigations.linear_probe:LinearProbe",
        "lora": "cl_forget.mitigations.lora:LoRA",
        "lora_null": "cl_forget.mitigations.lora_null:LoRANull",
        "clora": "cl_forget.mitigations.clora:CLoRA",
        "osf": "cl_forget.mitigations.osf:OSF",
        "ridge_head": "cl_forget.mitigations.ridge_head:RidgeHead",
        "low_lr": "cl_forget.mitigations.low_lr:LowLearningRate",
        "lp_ft": "cl_forget.mitigations.lp_ft:LinearProbeThenFineTune",
        "o_lora": "cl_forget.mitigations.o_lora:OLoRA",
        "derpp": "cl_forget.mitigations.derpp:DarkExperienceReplayPlus",
        "er": "cl_forget.mitigations.er:ExperienceReplay",
        "flow": "cl_forget.mitigations.flow:FLOW",
        "eaft": "cl_forget.mitigations.eaft:EAFT",
        "stm": "cl_forget.mitigations.stm:STM",
        "talr": "cl_forget.mitigations.talr:TALR",
        "dft": "cl_forget.mitigations.dft:DFT",
        "self_sft": "cl_forget.mitigations.self_sft:SelfSFT",
        "sdft": "cl_forget.mitigations.sdft:SDFT",
        "asft": "cl_forget.mitigations.asft:ASFT",
        "kd": "cl_forget.mitigations.kd:KnowledgeDistillation",
        "lwf": "cl_forget.mitigations.lwf:LearningWithoutForgetting",
        "lfl": "cl_forget.mitigations.lfl:LessForgetfulLearning",
        "ldifs": "cl_forget.mitigations.ldifs:LDIFS",
        "fda": "cl_forget.mitigations.fda:FDA",
        "kl_to_base": "cl_forget.mitigations.kl_to_base:KLToBase",
        "zscl": "cl_forget.mitigations.zscl:ZSCL",
        "flyp": "cl_forget.mitigations.flyp:FLYP",
        "flyp_ce": "cl_forget.mitigations.flyp_ce:FLYPCrossEntropy",
        "ewc": "cl_forget.mitigations.ewc:EWC",
        "l1_sp": "cl_forget.mitigations.l1_sp:L1SP",
        "l2_sp": "cl_forget.mitigations.l2_sp:L2SP",
        "mas": "cl_forget.mitigations.mas:MAS",
        "si": "cl_forget.mitigations.si:SynapticIntelligence",
        "avalanche": "cl_forget.avalanche.method:Avalanche",
        "asam": "cl_forget.mitigations.asam:ASAM",
        "ema": "cl_forget.mitigations.ema:EMA",
        "looksam": "cl_forget.mitigations.looksam:LookSAM",
        "mofo": "cl_forget.mitigations.mofo:MoFO",
        "weight_decay": "cl_forget.mitigations.weight_decay:WeightDecay",
        "sam": "cl_forget.mitigations.sam:SAM",
        "star": "cl_forget.mitigations.star:STAR",
        "model_soup": "cl_forget.mitigations.model_soup:ModelSoup",
        "task_arithmetic": "cl_forget.mitigations.task_arithmetic:TaskArithmetic",
        "magmax": "cl_forget.mitigations.magmax:MagMax",
        "ties": "cl_forget.mitigations.ties:TIES",
        "dare": "cl_forget.mitigations.dare:DARE",
        "model_stock": "cl_forget.mitigations.model_stock:ModelStock",
        "opcm": "cl_forget.mitigations.opcm:OPCM",
        "intruder_reduction": "cl_forget.mitigations.intruder_reduction:IntruderReduction",
        "hma": "cl_forget.mitigations.hma:HeterogeneousAveraging",
        "lines": "cl_forget.mitigations.lines:LiNeS",
        "restart": "cl_forget.mitigations.restart:Restart",
        "wise_ft": "cl_forget.mitigations.wise_ft:WiseFT",
        "batch_norm": "cl_forget.mitigations.batch_norm:BatchNormStatistics",
    },
)

register = MITIGATIONS.register

__all__ = ["MITIGATIONS", "PLACES", "Chain", "Mitigation", "register"]
