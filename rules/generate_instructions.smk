# In:  a task's tuned generator; or the base model, and the seeds that it is shown.
# Out: the raw texts of one shard.


rule generate_instructions:
    input:
        generator=writer_to_make,
        seeds=seeds_to_show,
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
        # There may be thousands of shards, and Snakemake looks at each input and parameter of each: the
        # script is an input elsewhere, and here a part of what stands for the library.
        library=content_of(["scripts/generate_instructions.py", *SAMPLING_LIBRARY]),
        what=sampled_with,
        how=sampled_how,
    shell:
        """
        python -m scripts.launch --gpus {resources.gpu} --processes {params.how[processes]} -- \
            scripts.generate_instructions --task {params.what[task]} \
            --generator {params.what[generator]:q} {params.what[method]} \
            --chat-format {params.what[chat_format]} --count {params.what[count]} \
            --shard {wildcards.shard} --engine {params.what[engine]} \
            --batch-size {params.how[batch_size]} --temperature {params.what[temperature]} \
            --top-k {params.what[top_k]} --top-p {params.what[top_p]} \
            --max-new-tokens {params.what[max_new_tokens]} --seed {params.what[seed]} \
            --output {output} --log {log}
        """
