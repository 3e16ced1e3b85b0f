"""The Snakemake workflow catalog lists this repository, and its versions agree.

The rules are those of the catalog's generic listing: a public repository, a README that speaks of a
Snakemake workflow, a Snakefile, and rules in files of their own.
"""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

PROJECT = Path(__file__).parents[2]
CITATION = yaml.safe_load((PROJECT / "CITATION.cff").read_text(encoding="utf-8"))


def versions(changelog: str) -> list[tuple[str, str]]:
    """The releases of a changelog, `## 1.2.3 (2026-11-26)`, newest first, with their days."""
    return re.findall(r"^## (\d+\.\d+\.\d+) \((\d{4}-\d\d-\d\d)\)$", changelog, re.MULTILINE)


def version_faults(changelog: str, citation: dict, project: dict) -> list[str]:
    """Where the version of a citation or of a package is not that of the newest release."""
    newest = (versions(changelog) or [(None, None)])[0]
    stated = (citation.get("version"), citation.get("date-released"))
    faults = []
    if tuple(value and str(value) for value in stated) != newest:
        faults.append(f"CITATION.cff states {stated}, CHANGELOG.md {newest}")
    if "version" in project and project["version"] != newest[0]:
        faults.append(f"pyproject.toml states {project['version']}, CHANGELOG.md {newest[0]}")
    return faults


def test_the_catalog_finds_a_workflow() -> None:
    readme = (PROJECT / "README.md").read_text(encoding="utf-8").lower()
    assert "snakemake" in readme
    assert "workflow" in readme
    assert (PROJECT / "Snakefile").is_file()
    assert list((PROJECT / "rules").glob("*.smk"))


def test_the_citation_names_the_workflow_and_the_paper() -> None:
    assert CITATION["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= CITATION.keys()
    assert CITATION["license"] == "Apache-2.0"
    assert "Apache License" in (PROJECT / "LICENSE").read_text(encoding="utf-8")
    (paper,) = CITATION["references"]
    assert [author["family-names"] for author in paper["authors"]] == ["Cui", "Wang"]
    assert paper["url"] in (PROJECT / "README.md").read_text(encoding="utf-8")


def test_versions_agree() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    changelog = (PROJECT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert not version_faults(changelog, CITATION, project.get("project", {}))


@pytest.mark.parametrize(
    ("changelog", "citation", "project", "faults"),
    [
        ("## Unreleased\n", {}, {}, 0),
        ("## Unreleased\n", {"version": "0.1.0", "date-released": "2026-11-26"}, {}, 1),
        ("## Unreleased\n\n## 0.2.0 (2026-11-26)\n\n## 0.1.0 (2026-10-01)\n", {}, {}, 1),
        (
            "## 0.2.0 (2026-11-26)\n\n## 0.1.0 (2026-10-01)\n",
            {"version": "0.2.0", "date-released": "2026-11-26"},
            {"version": "0.1.0"},
            1,
        ),
        (
            "## 0.2.0 (2026-11-26)\n",
            {"version": "0.2.0", "date-released": "2026-11-26"},
            {"version": "0.2.0"},
            0,
        ),
    ],
)
def test_versions_that_do_not_agree_are_found(
    changelog: str, citation: dict, project: dict, faults: int
) -> None:
    assert len(version_faults(changelog, citation, project)) == faults


def test_a_release_is_made_of_a_tag_that_the_changelog_has() -> None:
    workflow = yaml.safe_load((PROJECT / ".github/workflows/release.yml").read_text("utf-8"))
    # YAML takes the key `on` for a truth value.
    assert workflow[True]["push"]["tags"] == ["v*"]
    steps = workflow["jobs"]["release"]["steps"]
    assert any("CHANGELOG.md" in step.get("run", "") for step in steps[:-1])
