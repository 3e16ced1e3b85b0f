# In:  a task's tuned generator; or the base model, and the seeds that it is shown.
# Out: the raw texts of one shard.


rule generate_instructions:
    input:
        generator=writer_to_make,
        seeds=seeds_to_show,
        task=ancient(task_file),
        script="scripts/generate_instructions.py",
    output:
        ensure("<results>/{task}/generations/{shard}.jsonl", non_empty=True),
    log:
        "<logs>/{task}/generate_instructions/{shard}.log",
    benchmark:
        "<benchmarks>/{task}/generate_instructions/{shard}.jsonl"
    conda:
        sampling_environment()
    threads: 8
    resources:
        gpu=of_a_shard(generating_processes),
        mem_mb=of_a_shard(generating_mb),
        runtime=of_a_shard(generating_minutes),
    params:
        module=as_py_module(),
        library=content_of(SAMPLING_LIBRARY),
        sections=form_keys("prefix", "opening", "closing"),
        generator=writer,
        method=method_options,
        chat_format=setting("generator/chat_format"),
        samples=setting("sampling/shard_size"),
        processes=untracked_setting("sampling/processes"),
        engine=setting("sampling/engine"),
        batch_size=untracked_setting("sampling/batch_size"),
        temperature=sampling_setting("temperature"),
        top_k=sampling_setting("top_k"),
        top_p=sampling_setting("top_p"),
        max_new_tokens=sampling_setting("max_new_tokens"),
        seed=setting("seed"),
    shell:
        """
        python -m scripts.launch --gpus {resources.gpu} --processes {params.processes} -- \
            {params.module} --task {input.task} --generator {params.generator:q} {params.method} \
            --chat-format {params.chat_format} --count {params.samples} \
            --shard {wildcards.shard} --engine {params.engine} --batch-size {params.batch_size} \
            --temperature {params.temperature} --top-k {params.top_k} --top-p {params.top_p} \
            --max-new-tokens {params.max_new_tokens} --seed {params.seed} \
            --output {output} --log {log}
        """
