# What each job asks for: the functions of scripts/lib/resources.py on the config of its task. Where
# jobs run is the profile's business (profiles/slurm/).

from contextlib import suppress

from scripts.lib import resources as needs

# How many problems a benchmark has where the config does not limit them: about as many as GSM8K's.
PROBLEMS = 1500
# How many seeds a generator learns from where the config does not say: a paper's set has ten.
SEEDS_AT_MOST = 100
# Requests that a server on this machine answers at a time, as its client asks by itself.
SERVED = 16
# The API's batches may take a day, and an endpoint is asked for hours: the journal goes on.
REMOTE_MINUTES = 720


def stays_here(remote=True):
    """Whether a step that reaches for the internet must run where Snakemake does."""
    return remote and not config["cluster"]["nodes_online"]


def growing(amount):
    """A number of MB that grows with the attempt, up to the most that a job may ask for."""
    return lambda wildcards, attempt: needs.grown(amount, attempt, most_mb())


def growing_time(minutes):
    """A number of minutes that grows with the attempt, up to the most that a job may ask for."""
    return lambda wildcards, attempt: needs.grown(minutes, attempt, most_minutes())


def most_minutes():
    """The most minutes that a job may ask for."""
    return int(60 * config["cluster"]["max_hours"])


def most_mb():
    """The most memory that a job may ask for on a machine, in MB."""
    return int(1000 * config["cluster"]["max_mem_gb"])


def gpus_of_training(name, role):
    """How many GPUs a role's training has, on all of its machines."""
    section = config_of(name)[role]
    return gpus_shared(section["model"], section["training"])


def gpus_of_role(role):
    """How many GPUs the training of a role has, as a parameter."""
    return lambda wildcards: gpus_of_training(wildcards.task, role)


def gpus_of_target(wildcards):
    """How many GPUs the training of a target has."""
    return gpus_of_training(wildcards.task, wildcards.role)


def over_machines(value):
    """A resource of trainings that run on several machines; one machine has none of these."""

    def resource(wildcards):
        nodes = setting("{role}/training/nodes")(wildcards)
        return value(nodes, gpus_of_target(wildcards)) if nodes > 1 else None

    return resource


machines = over_machines(lambda nodes, gpus: nodes)
no_tasks_by_gpu = over_machines(lambda nodes, gpus: 0)
started_by_srun = over_machines(lambda nodes, gpus: "srun")
gpus_of_each_machine = over_machines(
    lambda nodes, gpus: f"--gpus-per-node={gpus // nodes}"
)


def training_mb(wildcards, attempt):
    """Memory of each machine of a training."""
    found = config_of(wildcards.task)[wildcards.role]
    training, gpus = found["training"], gpus_of_target(wildcards)
    return needs.training_mb(
        parameters(found["model"]),
        training["method"],
        max(1, gpus // training["nodes"]),
        training["parallel"] == "fsdp",
        gpus == 0,
        attempt,
        most_mb(),
    )


def training_minutes(wildcards, attempt):
    """Time of a training, were all examples as long as they may be."""
    found = config_of(wildcards.task)
    role, training = found[wildcards.role], found[wildcards.role]["training"]
    if learns_to_write(wildcards):
        examples = found["seed_rows"] or SEEDS_AT_MOST
    else:
        examples = found["sampling"]["target_rows"]
    tokens = examples * training["epochs"] * training["max_length"]
    gpus = gpus_of_target(wildcards)
    return needs.training_minutes(
        parameters(role["model"]), tokens, gpus, attempt, most_minutes()
    )


@cache
def tasks_that_load():
    """The tasks whose files can be read: one that is not ready yet is in nobody's way."""
    found = []
    for name in TASKS:
        with suppress(WorkflowError):
            task_named(name)
            found.append(name)
    return found


@cache
def largest_of_tasks(function, attempt):
    """The most that any task needs: all shards of an array get what the first one asks for,
    whichever task it is of."""
    return max(function(name, attempt) for name in tasks_that_load())


def generating_processes(name, attempt):
    """How many processes share a shard of a task."""
    return config_of(name)["sampling"]["processes"]


def loading_mb(model, processes, attempt):
    """Memory of processes that load a model of the config each."""
    return needs.sampling_mb(parameters(model), processes, attempt, most_mb())


def generating_mb(name, attempt):
    """Memory to sample a shard of a task."""
    found = config_of(name)
    processes = found["sampling"]["processes"]
    return loading_mb(found["generator"]["model"], processes, attempt)


def generating_minutes(name, attempt):
    """Time to sample a shard of a task."""
    found = config_of(name)
    sampling = found["sampling"]
    override = sampling["override"].get("max_new_tokens")
    return needs.sampling_minutes(
        parameters(found["generator"]["model"]),
        sampling["shard_size"],
        override or task_named(name).spec["sampling"]["max_new_tokens"],
        sampling["batch_size"],
        sampling["processes"],
        attempt,
        most_minutes(),
    )


def of_a_shard(function):
    """A resource of a shard, the same for all tasks."""
    return lambda wildcards, attempt: largest_of_tasks(function, attempt)


def responding_mb(wildcards, attempt):
    """Memory to respond to a benchmark."""
    found = config_of(wildcards.task)
    processes = found["sampling"]["processes"]
    return loading_mb(found["student"]["model"], processes, attempt)


def harness_mb(wildcards, attempt):
    """Memory of the lm-evaluation-harness, which is one process."""
    return loading_mb(setting("student/model")(wildcards), 1, attempt)


def responding_minutes(wildcards, attempt):
    """Time to respond to a benchmark."""
    found = config_of(wildcards.task)
    evaluation = found["evaluation"]
    return needs.sampling_minutes(
        parameters(found["student"]["model"]),
        (evaluation["limit"] or PROBLEMS) * (1 + evaluation["samples"]),
        evaluation["max_new_tokens"],
        evaluation["batch_size"],
        found["sampling"]["processes"],
        attempt,
        most_minutes(),
    )


def labelling_mb(wildcards, attempt):
    """Memory to label: of the client, and of the server where it is on the same machine."""
    model = config_of(wildcards.task)["label"]["model"]
    server = parameters(model) if labels_locally() else None
    return needs.labelling_mb(replies_of(wildcards), server, attempt, most_mb())


def estimating_mb(wildcards, attempt):
    """Memory to estimate what labels will cost: the client's."""
    return needs.labelling_mb(replies_of(wildcards), None, attempt, most_mb())


def labelling_minutes(wildcards, attempt):
    """Time to label."""
    label = config_of(wildcards.task)["label"]
    if not labels_locally():
        return needs.grown(REMOTE_MINUTES, attempt, most_minutes())
    return needs.sampling_minutes(
        parameters(label["model"]),
        instructions_of(wildcards) * label["replies"],
        label["max_tokens"],
        label["client"]["in_flight"] or SERVED,
        1,
        attempt,
        most_minutes(),
    )


def instructions_of(wildcards):
    """How many instructions a task has at most: those that are sampled, or its seeds."""
    if Run.named(wildcards.task).source == SEEDS_ONLY:
        return SEEDS_AT_MOST
    return (
        shards_of(wildcards.task) * config_of(wildcards.task)["sampling"]["shard_size"]
    )


def filtering_mb(wildcards, attempt):
    """Memory to filter a task's instructions."""
    return needs.filtering_mb(instructions_of(wildcards), attempt, most_mb())


def filtering_minutes(wildcards, attempt):
    """Time to filter a task's instructions."""
    return needs.filtering_minutes(instructions_of(wildcards), attempt, most_minutes())


def replies_of(wildcards):
    """How many replies a task's instructions get."""
    return instructions_of(wildcards) * config_of(wildcards.task)["label"]["replies"]


def verifying_mb(wildcards, threads, attempt):
    """Memory to verify a task's replies."""
    memory = setting("verification/memory_mb")(wildcards)
    replies = replies_of(wildcards)
    return needs.judging_mb(replies, threads, memory, attempt, most_mb())


def verifying_minutes(wildcards, threads, attempt):
    """Time to verify a task's replies."""
    found = config_of(wildcards.task)
    verification = found["verification"]
    # By agreement every solution is run on every reply's tests.
    each = found["label"]["replies"] if verification["method"] == "agreement" else 1
    runs = replies_of(wildcards) * each
    return needs.judging_minutes(
        runs, threads, verification["timeout"], attempt, most_minutes()
    )


def evaluated_responses(wildcards):
    """How many responses of a model are judged."""
    evaluation = config_of(wildcards.task)["evaluation"]
    return (evaluation["limit"] or PROBLEMS) * (1 + evaluation["samples"])


def evaluating_mb(wildcards, threads, attempt):
    """Memory to judge a model's responses."""
    memory = setting("verification/memory_mb")(wildcards)
    responses = evaluated_responses(wildcards)
    return needs.judging_mb(responses, threads, memory, attempt, most_mb())


def evaluating_minutes(wildcards, threads, attempt):
    """Time to judge a model's responses."""
    timeout = setting("verification/timeout")(wildcards)
    return needs.judging_minutes(
        evaluated_responses(wildcards), threads, timeout, attempt, most_minutes()
    )
