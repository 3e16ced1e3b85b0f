# In:  a base model and the seeds.
# Out: the role's tuned model (an adapter, or full weights) and its training curve.


rule train:
    input:
        model=fetched_model_of_role,
        seeds="<results>/{task}/seeds.jsonl",
        task=ancient(task_file),
        script="scripts/train.py",
        library=TRAINING_LIBRARY,
        kind=kind_of_whole_format,
    output:
        model=directory("<results>/{task}/{role}"),
        curve=ensure("<results>/{task}/{role}_curve.jsonl", non_empty=True),
    log:
        "<logs>/{task}/train_{role}.log",
    benchmark:
        "<benchmarks>/{task}/train_{role}.jsonl"
    conda:
        "../envs/gpu.yaml"
    threads: 8
    resources:
        gpu=setting("{role}/training/gpus"),
        mem="32GB",
        runtime="4h",
    params:
        module=as_py_module(),
        sections=form_keys("prefix", "opening", "closing", "suffix", "placeholder"),
        model=model_of_role,
        learn=setting("{role}/learn"),
        chat_format=setting("{role}/chat_format"),
        method=setting("{role}/training/method"),
        epochs=setting("{role}/training/epochs"),
        learning_rate=setting("{role}/training/learning_rate"),
        batch_size=setting("{role}/training/batch_size"),
        warmup_ratio=setting("{role}/training/warmup_ratio"),
        max_length=setting("{role}/training/max_length"),
        lora_rank=setting("{role}/training/lora_rank"),
        lora_alpha=setting("{role}/training/lora_alpha"),
        lora_dropout=setting("{role}/training/lora_dropout"),
        seed=lookup("seed", within=config),
    shell:
        """
        python -m {params.module} --role {wildcards.role} --task {input.task} \
            --seeds {input.seeds} --learn {params.learn} --model {params.model:q} \
            --chat-format {params.chat_format} --method {params.method} --epochs {params.epochs} \
            --learning-rate {params.learning_rate} --batch-size {params.batch_size} \
            --warmup-ratio {params.warmup_ratio} --max-length {params.max_length} \
            --lora-rank {params.lora_rank} --lora-alpha {params.lora_alpha} \
            --lora-dropout {params.lora_dropout} --seed {params.seed} \
            --output {output.model} --curve {output.curve} --log {log}
        """
