# In:  the training rows.
# Out: how many shards the wanted rows need; the next plan samples those that are missing.


rule top_up:
    input:
        verified="<results>/{task}_verified.jsonl",
        script="scripts/top_up.py",
        library="scripts/lib/shards.py",
    output:
        "<results>/{task}/top_up.json",
    log:
        "<logs>/{task}/top_up.log",
    localrule: True
    conda:
        "../envs/cpu.yaml"
    params:
        module=as_py_module(),
        target_rows=setting("sampling/target_rows"),
        shards=number_of_shards,
        shard_size=setting("sampling/shard_size"),
    shell:
        """
        python -m {params.module} --verified {input.verified} \
            --target-rows {params.target_rows} --shards {params.shards} \
            --shard-size {params.shard_size} --output {output} --log {log}
        """
