# What the rules share: the validated config, the tasks, and the functions of the workflow; those
# that say what jobs ask for are in resources.smk.

import copy
import gc
import hashlib
import inspect
import json
import shlex
from functools import cache
from pathlib import Path

from snakemake.common import overwrite_function_params
from snakemake.exceptions import WorkflowError
from snakemake.iocontainers import Wildcards

from scripts.lib.config_checks import (
    CONFIG_SCHEMA,
    check_names_of_datasets,
    check_names_of_tasks,
    config_of_task,
    gpus_asked,
    lay_over,
)
from scripts.lib.dataset_rows import dataset_name
from scripts.lib.errors import UserError
from scripts.lib.funnel import UNVERIFIED
from scripts.lib.harness import check_tasks
from scripts.lib.resources import parameters_of
from scripts.lib.schema import check_against_schema
from scripts.lib.seeds import load_seed_file, seed_source
from scripts.lib.shards import shards_for, topped_up_shards
from scripts.lib.stale_lock import clear_stale_lock
from scripts.lib.study import (
    ADA,
    ARM_NAMED,
    CELL,
    SEEDS_ONLY,
    SELF_INSTRUCT,
    Run,
    arms_of,
    cells,
    is_reference,
)
from scripts.lib.tasks import load_task
from scripts.lib.training import DECIDE_NOTHING
from scripts.lib.untracked import Untracked

# What a plan makes lives to its end: to look for garbage in it as often as Python does by itself
# takes an eighth of the time of 2,000 shards.
gc.set_threshold(100_000)

# Modules that change a step's result: an edit of one of them reruns the steps that list it.
# Modules that only carry data or messages (records, console, ...) are left out on purpose, so that
# an edit there does not train a model again.
DATASET_LIBRARY = ["scripts/lib/dataset_rows.py"]
PROMPT_LIBRARY = [f"scripts/lib/{name}.py" for name in ("chat", "models", "tasks/form")]
TRAINING_LIBRARY = [
    *sorted(
        str(path)
        for path in Path("scripts/lib/training").glob("*.py")
        if path.stem not in DECIDE_NOTHING
    ),
    *PROMPT_LIBRARY,
]
SAMPLING_LIBRARY = [
    *sorted(str(path) for path in Path("scripts/lib/generation").glob("*.py")),
    *PROMPT_LIBRARY,
]
FILTER_LIBRARY = [
    "scripts/lib/dedup.py",
    "scripts/lib/embedding.py",
    "scripts/lib/decontamination.py",
]
LABEL_LIBRARY = ["scripts/lib/completions/request.py"]
VERIFICATION_LIBRARY = [
    "scripts/lib/funnel.py",
    *sorted(
        str(path)
        for folder in ("sandbox", "verification")
        for path in Path("scripts/lib", folder).rglob("*.py")
    ),
]

PROBLEMS_LIBRARY = ["scripts/lib/evaluation/problems.py"]
EVALUATION_LIBRARY = [
    *VERIFICATION_LIBRARY,
    *sorted(str(path) for path in Path("scripts/lib/evaluation").glob("*.py")),
]
STUDY_LIBRARY = ["scripts/lib/study.py", "scripts/lib/study_statistics.py"]
QUALITY_LIBRARY = [
    *(
        f"scripts/lib/{name}.py"
        for name in ("embedding", "dedup", "dataset_rows", "funnel", "plots")
    ),
    "scripts/lib/evaluation/intervals.py",
    *sorted(str(path) for path in Path("scripts/lib/quality").glob("*.py")),
]
PLOT_LIBRARY = ["scripts/lib/plots.py", "scripts/lib/report/words.py"]
REPORT_LIBRARY = sorted(str(path) for path in Path("scripts/lib/report").glob("*.py"))
EXPORT_LIBRARY = ["scripts/lib/export.py", "scripts/lib/dataset_card.py"]

# Snakemake asks several times a job for the parameters of each function that a rule names. Where the
# function carries them, as Snakemake's own helpers do, they are not worked out anew.
OF_WILDCARDS = inspect.signature(lambda wildcards: None)


def of_wildcards(function):
    """The function, of `wildcards` alone, with its signature."""
    function.__signature__ = OF_WILDCARDS
    overwrite_function_params(function, OF_WILDCARDS.parameters)
    return function


def content_of(paths):
    """What the content of some files is told by, as one parameter of a rule.

    For rules of thousands of jobs, in place of the files as inputs: those would be looked up for
    every job, and cost a third of the plan.
    """
    digest = hashlib.sha256()
    for path in paths:
        content = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        digest.update(f"{path} {content}\n".encode())
    return digest.hexdigest()


TASKS = sorted(path.stem for path in Path("tasks").glob("*.yaml"))


def checked(check, *arguments):
    """Call a check of the library; what a user can put right ends the workflow with its line."""
    try:
        return check(*arguments)
    except UserError as error:
        raise WorkflowError(str(error))


if workflow.is_main_process:
    clear_stale_lock(Path(".snakemake"))

checked(check_against_schema, config, CONFIG_SCHEMA, "config.yaml")


@cache
def task_named(name):
    """The description of a task, or of the one that a run belongs to; read once."""
    return checked(load_task, Path("tasks") / f"{Run.named(name).task}.yaml")


@cache
def seed_source_of(name):
    """Where the seeds of a task come from; those of a file are checked before anything runs."""
    task = task_named(name)
    source = checked(seed_source, task, config_of(name)["seeds"])
    if isinstance(source, str):
        checked(load_seed_file, task, task.path.parent / source)
    return source


def labels_locally():
    """Whether the labelling model runs on our own hardware."""
    return config["label"]["endpoint"] == "local"


def model_path(name):
    """Where a model of the config is found: the directory that is fetched, or the name itself."""
    return f"results/models/{name}" if name in config["models"] else name


@cache
def parameters(model):
    """The number of weights of a model of the config."""
    return parameters_of(model, model_path(model))


def gpus_shared(model, training):
    """How many GPUs a training has, on all of its machines."""
    memory = config["cluster"]["gpu_memory_gb"]
    return gpus_asked(model, training, memory, parameters)


@cache
def config_of(name):
    """The config of a task, its section of `tasks` laid over the others, or of a run of its study."""
    run = Run.named(name)
    if run.cell:
        merged = copy.deepcopy(config_of(run.task))
        return lay_over(merged, run.overrides(values_of(run), merged["study"]))
    return checked(config_of_task, config, name, parameters)


checked(check_names_of_tasks, config, TASKS)
for name in config["tasks"]:
    config_of(name)
checked(check_names_of_datasets, config, [task_named(name).spec for name in TASKS])


def setting(path):
    """A value of the config of the task that a target names; `{role}` in the path is its role."""

    @of_wildcards
    def value(wildcards):
        found = config_of(wildcards.task)
        for key in path.format(**wildcards).split("/"):
            found = found[key]
        return found

    return value


def untracked_setting(path):
    """`setting` for a value that changes how a step runs and not what comes out: it reruns nothing."""
    value = setting(path)
    return of_wildcards(lambda wildcards: Untracked(value(wildcards)))


def accepted_risk(wildcards):
    """The option that lets code run without isolation, where the config asks for it twice."""
    return (
        "--accept-risk"
        if setting("verification/sandbox/accept_risk")(wildcards)
        else ""
    )


def task_of(wildcards):
    """The description of the task that a target names."""
    return task_named(wildcards.task)


def task_file(wildcards):
    """The YAML file of a task; `ancient` in rules, since `task_sections` says what has changed."""
    return str(task_of(wildcards).path)


def seeds_of(wildcards):
    """Where the seeds of a task come from: the name of a file, or rows of a dataset."""
    return seed_source_of(wildcards.task)


def seed_dataset(wildcards):
    """The dataset that a task's seeds are rows of; none where they come from a file."""
    source = seeds_of(wildcards)
    return None if isinstance(source, str) else source["dataset"]


def seed_files(wildcards):
    """The files that a task's seeds come from, as an input; none where they come from the hub."""
    if dataset := seed_dataset(wildcards):
        return local_copy(dataset)
    return str(task_of(wildcards).path.parent / seeds_of(wildcards))


def local_copy(dataset):
    """The local copy of a dataset that the config names; none where there is none, or no dataset."""
    path = config["datasets"].get(dataset_name(dataset)) if dataset else None
    return [path] if path else []


def local_copy_of(dataset_of):
    """The local copy of the dataset that a target has to do with, as an input."""
    return lambda wildcards: local_copy(dataset_of(wildcards))


def local_option_of(dataset_of):
    """The option that names the local copy of such a dataset, if there is one."""

    def option(wildcards):
        paths = local_copy(dataset_of(wildcards))
        return " ".join(f"--local {shlex.quote(path)}" for path in paths)

    return option


def benchmark_dataset(wildcards):
    """The dataset of a task's benchmark."""
    return task_of(wildcards).spec["benchmark"]["dataset"]


@cache
def benchmarked_tasks():
    """The tasks whose benchmarks are fetched: of those with the same benchmark the first."""
    first = {}
    for name in TASKS:
        benchmark = task_named(name).spec.get("benchmark")
        if benchmark is None:
            continue
        other = first.setdefault(benchmark["name"], name)
        if benchmark != task_named(other).spec["benchmark"]:
            raise WorkflowError(
                f"tasks/{name}.yaml: key 'benchmark': differs from that of tasks/{other}.yaml "
                f"and has the same name, {benchmark['name']}: give it another name"
            )
    return sorted(first.values())


def task_library(wildcards):
    """The modules that know the kind of a task: an edit of one kind leaves other tasks alone."""
    kind = task_of(wildcards).spec["kind"]
    return [
        f"scripts/lib/tasks/{name}.py"
        for name in ("__init__", "form", "statement", kind)
    ]


def learns_to_write(wildcards):
    """Whether the role is the one that learns from seeds, as they stand in the task's format."""
    return wildcards.role == "generator"


def kind_of_whole_format(wildcards):
    """The modules that put tests into a prompt, where a role learns the whole format of a task."""
    learns_format = (
        learns_to_write(wildcards) and setting("generator/learn")(wildcards) == "format"
    )
    return task_library(wildcards) if learns_format else []


def rows_of_role(wildcards):
    """What a role learns from: the task's seeds, or its rows, which in an arm of a study are drawn."""
    if learns_to_write(wildcards):
        return f"<results>/{wildcards.task}/seeds.jsonl"
    rows = "rows" if Run.named(wildcards.task).arm else "verified"
    return f"<results>/{wildcards.task}_{rows}.jsonl"


def form_of_role(wildcards):
    """The keys of a task's form that a role learns."""
    names = ("prefix", "opening", "closing", "suffix", "placeholder")
    return form_keys(*names)(wildcards) if learns_to_write(wildcards) else {}


def form_options(wildcards):
    """The options that say in which form a role learns a task."""
    if not learns_to_write(wildcards):
        return ""
    learn = setting("generator/learn")(wildcards)
    return f"--task {task_file(wildcards)} --learn {learn}"


def launch_options(wildcards):
    """How a training is spread over GPUs, which changes its result by no more than rounding."""
    training, gpus = setting("{role}/training")(wildcards), gpus_of_target(wildcards)
    if gpus < 2:
        return Untracked("")
    file = f"configs/accelerate/{training['parallel']}.yaml"
    options = f"--processes {gpus} --accelerate-config {file}"
    if training["nodes"] > 1:
        options += f" --nodes {training['nodes']}"
    return Untracked(options)


def task_sections(*names):
    """The sections of a task's file that a step reads: a change of another one reruns nothing."""

    def sections(wildcards):
        spec = task_of(wildcards).spec
        return {name: spec[name] for name in ("kind", *names) if name in spec}

    return sections


def form_keys(*names):
    """Some keys of a task's section `instruction`: a change of another one reruns nothing."""

    def keys(wildcards):
        return {name: task_of(wildcards).spec["instruction"][name] for name in names}

    return keys


def sampling_settings(wildcards):
    """The task's sampling settings, with those that the config overrides."""
    override = config_of(wildcards.task)["sampling"]["override"]
    given = {name: value for name, value in override.items() if value is not None}
    return {**task_of(wildcards).spec["sampling"], **given}


def by_task(function):
    """A function of a task's name as one of wildcards, which works its value out once a task."""
    known = cache(function)
    return of_wildcards(lambda wildcards: known(wildcards.task))


@by_task
def sampled_with(name):
    """What decides the texts of a shard, as one parameter: each costs the plan of every shard."""
    wildcards = Wildcards(fromdict={"task": name})
    found, sampling = config_of(name), sampling_settings(wildcards)
    return {
        "task": task_file(wildcards),
        "sections": form_keys("prefix", "opening", "closing")(wildcards),
        "generator": writer(wildcards),
        "method": method_options(wildcards),
        "chat_format": found["generator"]["chat_format"],
        "count": found["sampling"]["shard_size"],
        "engine": found["sampling"]["engine"],
        **{key: sampling[key] for key in ("temperature", "top_k", "top_p")},
        "max_new_tokens": sampling["max_new_tokens"],
        "seed": found["seed"],
    }


@by_task
def sampled_how(name):
    """How a shard is sampled, which changes no text: it reruns nothing."""
    sampling = config_of(name)["sampling"]
    return Untracked({key: sampling[key] for key in ("processes", "batch_size")})


def sampling_environment():
    """The environment of the step that samples: vLLM has one of its own."""
    name = "vllm" if config["sampling"]["engine"] == "vllm" else "gpu"
    return f"../envs/{name}.yaml"


def label_environment():
    """The environment of the step that labels: a model of our own needs torch."""
    name = "gpu" if labels_locally() else "cpu"
    return f"../envs/{name}.yaml"


def sampling_record(wildcards):
    """The sampling settings as JSON, for the rows that tell where they came from."""
    return json.dumps(sampling_settings(wildcards), sort_keys=True)


def client_settings(wildcards):
    """How requests are sent, as JSON: no reply depends on it, and no secret is among it."""
    return Untracked(json.dumps(config_of(wildcards.task)["label"]["client"]))


def label_parameters(wildcards):
    """The parameters of a label request as JSON, in the names of the chat completions API."""
    label = config_of(wildcards.task)["label"]
    parameters = {label["max_tokens_name"]: label["max_tokens"]}
    for name in ("temperature", "top_p"):
        if label[name] is not None:
            # 1 and 1.0 are the same request.
            parameters[name] = float(label[name])
    return json.dumps({**parameters, **label["extra_body"]}, sort_keys=True)


def shards_of(name):
    """How many shards of instructions are sampled for a task: for its target, or topped up."""
    sampling = config_of(name)["sampling"]
    return max(
        shards_for(sampling["target_rows"], sampling["margin"], sampling["shard_size"]),
        topped_up_shards(Path("results"), name, sampling["shard_size"]),
    )


def number_of_shards(wildcards):
    """How many shards of instructions the task of a target has."""
    return shards_of(wildcards.task)


def generation_shards(wildcards):
    """The files of all shards of a task's raw texts."""
    numbers = range(1, shards_of(wildcards.task) + 1)
    return collect(
        "<results>/{task}/generations/{shard}.jsonl", task=wildcards.task, shard=numbers
    )


def fetched(name):
    """The directory of a model as an input, nothing for a model that need not be fetched."""
    return [model_path(name)] if name in config["models"] else []


def model_of_role(wildcards):
    """The base model of a role."""
    return model_path(config_of(wildcards.task)[wildcards.role]["model"])


def fetched_model_of_role(wildcards):
    """The base model of a role as an input."""
    return fetched(config_of(wildcards.task)[wildcards.role]["model"])


def label_model(wildcards):
    """The labelling model: a directory or hub id for a local endpoint, else the endpoint's name."""
    name = config_of(wildcards.task)["label"]["model"]
    return model_path(name) if labels_locally() else name


def fetched_label_model(wildcards):
    """The labelling model as an input."""
    return (
        fetched(config_of(wildcards.task)["label"]["model"]) if labels_locally() else []
    )


# What changes no row, or what the rows tell themselves, and the card therefore leaves out.
CARD_LEAVES_OUT = {
    "sampling": {"override", "batch_size", "processes"},
    "label": {"client"},
    "verification": {"sandbox"},
}
CARD_LEAVES_OUT_OF_TRAINING = {
    "gpus",
    "nodes",
    "parallel",
    "accumulation",
    "gradient_checkpointing",
    "checkpoint_minutes",
    "report_to",
}


def settings_record(wildcards):
    """What a task's rows are made with as JSON, for the card of its data set."""
    found = config_of(wildcards.task)
    names = (
        "generator",
        "sampling",
        "filter",
        "decontamination",
        "label",
        "verification",
    )
    sections = {
        name: {
            key: value
            for key, value in found[name].items()
            if key not in CARD_LEAVES_OUT.get(name, ())
        }
        for name in names
    }
    sections["generator"]["training"] = {
        key: value
        for key, value in found["generator"]["training"].items()
        if key not in CARD_LEAVES_OUT_OF_TRAINING
    }
    sections["sampling"]["seed"] = found["seed"]
    return json.dumps(sections, sort_keys=True)


def writes_in_context(wildcards):
    """Whether the base model writes the instructions, with seeds in each prompt."""
    return setting("generator/method")(wildcards) == "in_context"


def writer(wildcards):
    """The model that writes a task's instructions."""
    if writes_in_context(wildcards):
        return model_path(setting("generator/model")(wildcards))
    return f"results/{wildcards.task}/generator"


@of_wildcards
def writer_to_make(wildcards):
    """The model that writes a task's instructions as an input."""
    if writes_in_context(wildcards):
        return fetched(setting("generator/model")(wildcards))
    return f"<results>/{wildcards.task}/generator"


@of_wildcards
def seeds_to_show(wildcards):
    """The seeds as an input, where they stand in the prompts of the model that writes."""
    if writes_in_context(wildcards):
        return f"<results>/{wildcards.task}/seeds.jsonl"
    return []


def method_options(wildcards):
    """The options that say in which way instructions are asked for; none for a tuned generator."""
    if writes_in_context(wildcards):
        return f"--method in_context --seeds results/{wildcards.task}/seeds.jsonl"
    return ""


def seed_rows_option(wildcards):
    """The option that says how many of the seeds are drawn, if not all are taken."""
    count = setting("seed_rows")(wildcards)
    return f"--count {count} --seed {setting('seed')(wildcards)}" if count else ""


def benchmarks_of(name):
    """The descriptions of the benchmarks that a task's models are evaluated on, by their names."""
    described = task_named(name).spec.get("evaluation", [])
    return {benchmark["name"]: benchmark for benchmark in described}


def evaluated_benchmarks(name):
    """The names of the benchmarks that the config asks for."""
    known, path = benchmarks_of(name), task_named(name).path
    if not known:
        raise WorkflowError(
            f"{path}: has no section 'evaluation': describe a benchmark there (docs/evaluation.md)"
        )
    names = config_of(name)["evaluation"]["benchmarks"] or list(known)[:1]
    for wanted in names:
        if wanted not in known:
            raise WorkflowError(
                f"config.yaml: key 'evaluation.benchmarks': {path} has no benchmark '{wanted}': "
                f"it has {', '.join(known)}"
            )
    return names


def evaluated_dataset(wildcards):
    """The dataset of the benchmark that a target names."""
    known = benchmarks_of(wildcards.task)
    if wildcards.benchmark not in known:
        raise WorkflowError(
            f"{task_file(wildcards)}: key 'evaluation': has no benchmark "
            f"'{wildcards.benchmark}': it has {', '.join(known)}"
        )
    return known[wildcards.benchmark]["dataset"]


def problems(wildcards):
    """The problems of the benchmark that a target names, the same for all runs of a study."""
    task = Run.named(wildcards.task).task
    return f"<results>/{task}/problems/{wildcards.benchmark}.jsonl"


def problems_of_all_benchmarks(wildcards):
    """The problems of all benchmarks that a task is evaluated on."""
    return [
        f"<results>/{wildcards.task}/problems/{name}.jsonl"
        for name in evaluated_benchmarks(wildcards.task)
    ]


def evaluated_model(wildcards):
    """The model that responds to a benchmark: the student, or what it was before its training."""
    if wildcards.model == "base":
        return model_path(setting("student/model")(wildcards))
    return f"results/{wildcards.task}/student"


def evaluated_model_to_make(wildcards):
    """The model that responds to a benchmark as an input."""
    if wildcards.model == "base":
        return fetched(setting("student/model")(wildcards))
    return f"<results>/{wildcards.task}/student"


def limit_of_problems(wildcards):
    """How many problems of a benchmark are asked; 0 for all."""
    return setting("evaluation/limit")(wildcards) or 0


def decoding_record(wildcards):
    """How responses are decoded as JSON, for the protocol that a result names."""
    found = config_of(wildcards.task)
    evaluation = found["evaluation"]
    sampled = {name: evaluation[name] for name in ("samples", "temperature", "top_p")}
    record = {
        "chat_format": found["student"]["chat_format"],
        "limit": evaluation["limit"],
        "max_new_tokens": evaluation["max_new_tokens"],
        "sampled": sampled if evaluation["samples"] else None,
    }
    return json.dumps(record, sort_keys=True)


def evaluations_of(model, suffix):
    """The evaluations of a model on all of its task's benchmarks as an input."""

    def files(wildcards):
        return collect(
            "<results>/{task}/evaluation/{benchmark}/{model}{suffix}",
            task=wildcards.task,
            benchmark=evaluated_benchmarks(wildcards.task),
            model=model,
            suffix=suffix,
        )

    return files


def lm_eval_task_files(wildcards):
    """The files of the tasks that the lm-evaluation-harness is to run, once they are allowed."""
    section = setting("lm_eval")(wildcards)
    return checked(
        check_tasks,
        section["tasks"],
        section["include_path"],
        section["confirm_unsafe_code"],
    )


def lm_eval_include_path_option(wildcards):
    """The option that names a folder of the harness's tasks, if there is one."""
    path = setting("lm_eval/include_path")(wildcards)
    return f"--include-path {shlex.quote(path)}" if path else ""


def likelihood_wanted(wildcards):
    """Whether the likelihood of options is asked for: it is of no effect but for choice tasks."""
    choice = task_of(wildcards).spec["kind"] == "choice"
    return "true" if choice and setting("evaluation/likelihood")(wildcards) else "false"


def target_dataset(wildcards):
    """The dataset of a task's target set: the instructions that its own ought to resemble."""
    return task_of(wildcards).spec.get("target", {}).get("dataset")


# What `{task}` may be: a task, or a run of its study (see `Run`); of those, an arm, and the seeds.
TASK = r"[A-Za-z][A-Za-z0-9-]*(_[A-Za-z0-9-]+)*?"
RUN = rf"{TASK}(/study/{CELL}/([a-z_]+?|arms/[a-z_]+?))?"
ARM = rf"{TASK}/study/{CELL}/arms/[a-z_]+?"
SEEDS_ALONE = rf"{TASK}/study/{CELL}/{SEEDS_ONLY}"


@cache
def study_of(task):
    """The section `study` of a task: what it leaves open is as without a study."""
    found = config_of(task)
    study = dict(found["study"])
    if study["seed_rows"] is None:
        study["seed_rows"] = [found["seed_rows"] or number_of_seeds(task)]
    if study["epochs"] is None:
        study["epochs"] = [found["generator"]["training"]["epochs"]]
    return study


def number_of_seeds(task):
    """How many samples the set of a task's seeds has."""
    source = seed_source_of(task)
    if isinstance(source, str):
        path = task_named(task).path.parent / source
        return len(checked(load_seed_file, task_named(task), path))
    return len(source["ids"])


@cache
def cells_of(task):
    """The cells of a task's study."""
    from pandas import DataFrame
    from snakemake.utils import Paramspace

    return Paramspace(DataFrame(cells(study_of(task))), single_wildcard="cell")


def values_of(run):
    """The values of a run's cell."""
    values = cells_of(run.task).instance({"cell": run.cell})
    return {name: int(value) for name, value in values.items()}


def cells_with_arms(task, reference=False):
    """The folders of a study's cells with their arms; of all, or where all arms are compared."""
    study = study_of(task)
    if config_of(task)["verification"]["method"] == UNVERIFIED:
        raise WorkflowError(
            "config.yaml: key 'verification.method': with none a study has no verified arm: set "
            "own_tests or agreement"
        )
    return [
        (f"<results>/{task}/study/{name}", arms_of(cell, study))
        for cell, name in zip(
            cells(study), cells_of(task).instance_patterns, strict=True
        )
        if is_reference(cell, study) or not reference
    ]


def arm_of_run(wildcards):
    """The arm that a run is of."""
    return Run.named(wildcards.task).arm


def other_arms(wildcards):
    """The other arms of the cell that an arm is of: each gets as many rows as the poorest has."""
    run = Run.named(wildcards.task)
    found = arms_of(values_of(run), study_of(run.task))
    return [arm.name for arm in found if arm.name != run.arm]


def rows_before_drawing(run, arm):
    """The file that the rows of an arm are drawn from."""
    return f"<results>/{run.task}/study/{run.cell}/{ARM_NAMED[arm].rows}.jsonl"


def rows_of_arm(wildcards):
    """The rows that an arm's are drawn from."""
    run = Run.named(wildcards.task)
    return rows_before_drawing(run, run.arm)


def rows_of_other_arms(wildcards):
    """The rows that those of the cell's other arms are drawn from."""
    run = Run.named(wildcards.task)
    return [rows_before_drawing(run, arm) for arm in other_arms(wildcards)]


def study_benchmark(wildcards):
    """The benchmark of a study: the first one that the config asks for."""
    return evaluated_benchmarks(wildcards.task)[0]


def of_arms(pattern):
    """A file of each arm of a study, in its cell's folder, as an input."""

    def files(wildcards):
        benchmark = study_benchmark(wildcards)
        return [
            f"{folder}/{pattern}".format(arm=arm.name, benchmark=benchmark)
            for folder, arms in cells_with_arms(wildcards.task)
            for arm in arms
        ]

    return files


def model_of_study(model, suffix):
    """An evaluation of a model that no arm has tuned as an input."""
    return lambda wildcards: evaluations_of(model, suffix)(wildcards)[0]


def funnels_of_study(wildcards):
    """The funnels of the sources that write instructions, where all arms are compared.

    That of a source whose rows are nowhere verified ends before that stage.
    """
    return [
        f"{folder}/{part}/funnel.json"
        for folder, _ in cells_with_arms(wildcards.task, reference=True)
        for part in (ADA, f"{SELF_INSTRUCT}/unverified")
    ]


def of_writing_sources(pattern):
    """A file of each source that writes instructions, in the first cell of a study."""

    def files(wildcards):
        folder, _ = cells_with_arms(wildcards.task)[0]
        return [
            f"{folder}/{pattern}".format(source=source)
            for source in (ADA, SELF_INSTRUCT)
        ]

    return files


def there(*patterns):
    """Those files of a task that exist, as inputs: what has not been made is left out."""

    def files(wildcards):
        named = [pattern.format(task=wildcards.task) for pattern in patterns]
        return [name for name in named if Path(name).exists()]

    return files


def made_of(source, made):
    """What is made of a file of a task, as an input: nothing where the file does not exist."""

    def files(wildcards):
        exists = Path(source.format(task=wildcards.task)).exists()
        return made.format(task=wildcards.task) if exists else []

    return files


def seeds_of_first_cell(wildcards):
    """The seeds of the first cell of a study."""
    folder, _ = cells_with_arms(wildcards.task)[0]
    return f"{folder}/{ADA}/seeds.jsonl"
