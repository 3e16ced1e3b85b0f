# Ada-Instruct: ten sample instructions of a task in, a verified training set out, and a model trained
# on it and measured. The way of the data, stage by stage, is the order of the includes.

from snakemake.utils import min_version

min_version("9.27")


configfile: "config.yaml"


include: "rules/common.smk"
include: "rules/resources.smk"


wildcard_constraints:
    task=RUN,
    role="generator|student",
    shard=r"\d+",
    benchmark=r"[A-Za-z0-9+._-]+",


include: "rules/fetch_model.smk"
include: "rules/fetch_benchmark.smk"
include: "rules/select_seeds.smk"
include: "rules/train.smk"
include: "rules/generate_instructions.smk"
include: "rules/filter_instructions.smk"
include: "rules/label_instructions.smk"
include: "rules/verify_samples.smk"
include: "rules/export_dataset.smk"
include: "rules/top_up.smk"
include: "rules/evaluate_model.smk"
include: "rules/run_lm_eval.smk"
include: "rules/measure_instructions.smk"
include: "rules/study.smk"
include: "rules/report.smk"


rule all:
    default_target: True
    input:
        collect("<results>/{task}_verified.jsonl", task=TASKS),
