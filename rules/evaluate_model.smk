# In:  a task model, the model that it was before, and the problems of a benchmark.
# Out: each model's responses and their scores; how the two compare. The benchmark's own solutions
#      take the same way: they must all be right.


rule fetch_problems:
    input:
        local=local_copy_of(evaluated_dataset),
        task=ancient(task_file),
        script="scripts/fetch_problems.py",
        library=[*DATASET_LIBRARY, *PROBLEMS_LIBRARY],
        kind=task_library,
    output:
        ensure("<results>/{task}/problems/{benchmark}.jsonl", non_empty=True),
    log:
        "<logs>/{task}/fetch_problems/{benchmark}.log",
    localrule: stays_here()
    conda:
        "../envs/cpu.yaml"
    params:
        module=as_py_module(),
        sections=task_sections("evaluation", "instruction", "answer"),
        local=local_option_of(evaluated_dataset),
    shell:
        """
        python -m {params.module} --task {input.task} --benchmark {wildcards.benchmark} \
            {params.local} --output {output} --log {log}
        """


rule respond_to_problems:
    input:
        problems=problems,
        model=evaluated_model_to_make,
        task=ancient(task_file),
        script="scripts/respond_to_problems.py",
        library=[*SAMPLING_LIBRARY, *PROBLEMS_LIBRARY],
        kind=task_library,
    output:
        ensure("<results>/{task}/responses/{benchmark}/{model}.jsonl", non_empty=True),
    log:
        "<logs>/{task}/respond_to_problems/{benchmark}/{model}.log",
    benchmark:
        "<benchmarks>/{task}/respond_to_problems/{benchmark}/{model}.jsonl"
    wildcard_constraints:
        model="base|student",
    conda:
        sampling_environment()
    threads: 8
    resources:
        gpu=setting("sampling/processes"),
        mem_mb=responding_mb,
        runtime=responding_minutes,
    params:
        module=as_py_module(),
        sections=task_sections("instruction"),
        model=evaluated_model,
        chat_format=setting("student/chat_format"),
        limit=limit_of_problems,
        samples=setting("evaluation/samples"),
        temperature=setting("evaluation/temperature"),
        top_p=setting("evaluation/top_p"),
        max_new_tokens=setting("evaluation/max_new_tokens"),
        likelihood=likelihood_wanted,
        engine=setting("sampling/engine"),
        processes=untracked_setting("sampling/processes"),
        batch_size=untracked_setting("evaluation/batch_size"),
        seed=setting("seed"),
    shell:
        """
        python -m scripts.launch --gpus {resources.gpu} --processes {params.processes} -- \
            {params.module} --task {input.task} --problems {input.problems} \
            --model {params.model:q} --chat-format {params.chat_format} --limit {params.limit} \
            --samples {params.samples} --temperature {params.temperature} \
            --top-p {params.top_p} --top-k 0 --max-new-tokens {params.max_new_tokens} \
            --likelihood {params.likelihood} --engine {params.engine} \
            --batch-size {params.batch_size} --seed {params.seed} --output {output} --log {log}
        """


rule respond_by_reference:
    input:
        problems=problems,
        task=ancient(task_file),
        script="scripts/respond_by_reference.py",
        library=PROBLEMS_LIBRARY,
        kind=task_library,
    output:
        ensure(
            "<results>/{task}/responses/{benchmark}/reference.jsonl",
            non_empty=True,
        ),
    log:
        "<logs>/{task}/respond_by_reference/{benchmark}.log",
    conda:
        "../envs/cpu.yaml"
    params:
        module=as_py_module(),
        sections=task_sections("instruction"),
        limit=limit_of_problems,
    shell:
        """
        python -m {params.module} --task {input.task} --problems {input.problems} \
            --limit {params.limit} --output {output} --log {log}
        """


rule evaluate_model:
    input:
        problems=problems,
        responses="<results>/{task}/responses/{benchmark}/{model}.jsonl",
        task=ancient(task_file),
        script="scripts/evaluate_model.py",
        library=EVALUATION_LIBRARY,
        kind=task_library,
    output:
        scores=ensure(
            "<results>/{task}/evaluation/{benchmark}/{model}.jsonl", non_empty=True
        ),
        result="<results>/{task}/evaluation/{benchmark}/{model}.json",
    log:
        "<logs>/{task}/evaluate_model/{benchmark}/{model}.log",
    benchmark:
        "<benchmarks>/{task}/evaluate_model/{benchmark}/{model}.jsonl"
    wildcard_constraints:
        model="base|student|reference",
    conda:
        "../envs/cpu.yaml"
    threads: 8
    resources:
        mem_mb=evaluating_mb,
        runtime=evaluating_minutes,
    params:
        module=as_py_module(),
        sections=task_sections("evaluation", "instruction", "answer"),
        decoding=decoding_record,
        k=setting("evaluation/k"),
        min_parsed=setting("evaluation/min_parsed"),
        timeout=setting("verification/timeout"),
        memory_mb=setting("verification/memory_mb"),
        level=setting("verification/sandbox/level"),
        risk=accepted_risk,
        seed=lookup("seed", within=config),
    shell:
        """
        python -m {params.module} --task {input.task} --benchmark {wildcards.benchmark} \
            --problems {input.problems} --responses {input.responses} \
            --model-name {wildcards.model} --ks {params.k} --min-parsed {params.min_parsed} \
            --timeout {params.timeout} --memory-mb {params.memory_mb} --workers {threads} \
            --sandbox-level {params.level} {params.risk} --protocol {params.decoding:q} \
            --seed {params.seed} --rows {output.scores} --output {output.result} --log {log}
        """


rule compare_models:
    input:
        reference=evaluations_of("reference", ".json"),
        base=evaluations_of("base", ".json"),
        base_scores=evaluations_of("base", ".jsonl"),
        student=evaluations_of("student", ".json"),
        student_scores=evaluations_of("student", ".jsonl"),
        problems=problems_of_all_benchmarks,
        rows="<results>/{task}_verified.jsonl",
        seeds="<results>/{task}/seeds.jsonl",
        script="scripts/compare_models.py",
        library=[*EVALUATION_LIBRARY, "scripts/lib/decontamination.py"],
    output:
        "<results>/{task}_eval.json",
    log:
        "<logs>/{task}/compare_models.log",
    localrule: True
    conda:
        "../envs/cpu.yaml"
    params:
        module=as_py_module(),
        seed=lookup("seed", within=config),
    shell:
        """
        python -m {params.module} --task {wildcards.task} --reference {input.reference} \
            --base {input.base} --base-rows {input.base_scores} \
            --student {input.student} --student-rows {input.student_scores} \
            --problems {input.problems} --rows {input.rows} --seeds {input.seeds} \
            --seed {params.seed} --output {output} --log {log}
        """
