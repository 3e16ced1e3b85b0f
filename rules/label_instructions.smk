# In:  the kept instructions.
# Out: a row a reply of the labelling model: its answer, or the reason why it has none. The replies
#      themselves live in .cache/completions/, which Snakemake does not know and never deletes.
#      Or, before that, what the missing replies will cost.


rule label_instructions:
    input:
        instructions="<results>/{task}_instructions.jsonl",
        model=fetched_label_model,
        task=ancient(task_file),
        script="scripts/label_instructions.py",
        library=LABEL_LIBRARY,
        kind=task_library,
    output:
        labeled=ensure("<results>/{task}_labeled.jsonl", non_empty=True),
    log:
        "<logs>/{task}/label_instructions.log",
    benchmark:
        "<benchmarks>/{task}/label_instructions.jsonl"
    localrule: stays_here(remote=not labels_locally())
    conda:
        label_environment()
    threads: 8
    resources:
        gpu=int(labels_locally()),
        # Tasks share the limits of the keys, which each run takes for its own: the profiles let one
        # job at a time have this, wherever it runs.
        api=int(not labels_locally()),
        mem_mb=labelling_mb,
        runtime=labelling_minutes,
    params:
        module=as_py_module(),
        sections=task_sections("answer", "instruction", "label", "reply", "judge"),
        endpoint=setting("label/endpoint"),
        model=label_model,
        replies=setting("label/replies"),
        min_tests=setting("label/min_tests"),
        parameters=label_parameters,
        seed=setting("seed"),
        client=client_settings,
        server_log="logs/{task}/label_server.log",
        estimate="",
    shell:
        """
        python -m scripts.launch --gpus {resources.gpu} -- \
            {params.module} --task {input.task} --instructions {input.instructions} \
            --endpoint {params.endpoint} --model {params.model:q} \
            --replies {params.replies} --min-tests {params.min_tests} --seed {params.seed} \
            --parameters {params.parameters:q} --client {params.client:q} \
            --journal .cache/completions --server-log {params.server_log} --output {output} \
            {params.estimate} --log {log}
        """


use rule label_instructions as estimate_labels with:
    output:
        "<results>/{task}/label_estimate.json",
    log:
        "<logs>/{task}/estimate_labels.log",
    benchmark:
        "<benchmarks>/{task}/estimate_labels.jsonl"
    localrule: stays_here(remote=not labels_locally())
    resources:
        gpu=0,
        api=0,
        mem_mb=estimating_mb,
        runtime=growing_time(60),
    params:
        estimate="--estimate",
