"""The recipe of the container is that of the environments as they are."""

from pathlib import Path

from containers.render import render
from tests.conftest import PROJECT, Project


def test_the_recipe_of_the_container_is_current(tmp_path: Path) -> None:
    project = Project(tmp_path, {})
    text = (PROJECT / "containers" / "Dockerfile").read_text(encoding="utf-8")
    assert render(project.path) == text, "run python containers/render.py"
    # Snakemake itself leaves these out.
    for name in ("cpu", "gpu", "lm_eval"):
        assert f"COPY envs/{name}.post-deploy.sh " in text


def test_a_config_that_samples_by_vllm_has_its_environment_in_the_container(
    tmp_path: Path,
) -> None:
    project = Project(tmp_path, {"sampling": {"engine": "vllm"}})
    text = render(project.path, ["--configfile", str(project.overlay)])
    assert "COPY envs/vllm.post-deploy.sh " in text
