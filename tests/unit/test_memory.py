"""How much memory is left: of the machine, or of the control group that limits this process."""

from pathlib import Path

import pytest

from scripts.lib import memory


def test_a_limit_of_the_control_group_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 400\ninactive_file 200\nslab 9\n")
    assert memory._left_in_cgroup(tmp_path) is None
    (tmp_path / "memory.max").write_text("1000\n")
    assert memory._left_in_cgroup(tmp_path) == 500
    assert memory._left_in_cgroup(tmp_path / "missing") is None
    monkeypatch.setattr(memory, "_left_in_cgroup", lambda: 500.0)
    assert memory.free_bytes("cpu") == 500
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert memory.free_bytes("cpu") == 250
