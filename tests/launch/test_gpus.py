"""GPUs are claimed by locks: which there are, who holds them, and what a claim leaves behind."""

import os
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from scripts.lib import gpus
from scripts.lib.errors import UserError
from scripts.lib.gpus import Gpu, claim, claim_visible, narrow_to_own_gpu, visible_gpus
from tests.launch.machine import PROJECT, soon

TWO = "GPU 0: NVIDIA A100 (UUID: GPU-0aa)\nGPU 1: NVIDIA A100 (UUID: GPU-1bb)\n"
CUT = (
    "GPU 0: NVIDIA A100 (UUID: GPU-0aa)\n"
    "  MIG 3g.40gb     Device  0: (UUID: MIG-0x)\n"
    "  MIG 3g.40gb     Device  1: (UUID: MIG-0y)\n"
    "GPU 1: NVIDIA A100 (UUID: GPU-1bb)\n"
)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(gpus, "POLL_SECONDS", 0.05)
    monkeypatch.setenv(gpus.LOCKS, str(tmp_path))
    for name in (gpus.VISIBLE, "CUDA_DEVICE_ORDER", "LOCAL_RANK"):
        # Set first, so that what a claim writes is taken back after the test.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def listing(monkeypatch: pytest.MonkeyPatch, folder: Path, text: str) -> None:
    """Put an `nvidia-smi` on the path that prints the text."""
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{text}END\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def release(folder: Path) -> None:
    """Close the lock files that this process holds open in a folder."""
    for entry in Path("/proc/self/fd").iterdir():
        try:
            if (path := entry.readlink()).parent == folder and path.suffix == ".lock":
                os.close(int(entry.name))
        except OSError:
            continue


def test_a_machine_without_gpus_claims_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(gpus, "DEVICE_FILES", ("no-such-device",))
    assert visible_gpus() == []
    assert claim_visible(4) == 0
    assert gpus.VISIBLE not in os.environ


@pytest.mark.parametrize(
    ("text", "visible", "found"),
    [
        (TWO, None, [("0", "GPU-0aa"), ("1", "GPU-1bb")]),
        (TWO, "1", [("1", "GPU-1bb")]),
        (TWO, "GPU-1", [("GPU-1", "GPU-1bb")]),
        (TWO, "", []),
        (TWO, "-1", []),
        (CUT, None, [("MIG-0x", "MIG-0x"), ("MIG-0y", "MIG-0y"), ("1", "GPU-1bb")]),
        (CUT, "MIG-0y", [("MIG-0y", "MIG-0y")]),
    ],
)
def test_gpus_are_those_that_are_visible(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, visible: str | None, found: list
) -> None:
    listing(monkeypatch, tmp_path, text)
    if visible is not None:
        monkeypatch.setenv(gpus.VISIBLE, visible)
    assert visible_gpus() == [Gpu(*gpu) for gpu in found]


def test_a_claim_leaves_only_what_it_holds_visible(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    listing(monkeypatch, tmp_path, TWO)
    assert claim_visible(1) == 1
    assert os.environ[gpus.VISIBLE] == "0"
    monkeypatch.delenv(gpus.VISIBLE)
    assert claim_visible(1) == 1
    assert os.environ[gpus.VISIBLE] == "1"
    assert os.environ["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    release(tmp_path)


def test_more_gpus_than_there_are_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    listing(monkeypatch, tmp_path, TWO)
    with pytest.raises(UserError, match="there are 2: lower training.gpus"):
        claim_visible(3)


def test_a_job_on_the_cpu_sees_no_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    listing(monkeypatch, tmp_path, TWO)
    assert claim_visible(0) == 0
    assert os.environ[gpus.VISIBLE] == ""


@pytest.mark.parametrize(
    ("visible", "names"), [("1,1", ["1"]), ("0,-1,1", ["0"]), ("0,9", ["0"]), ("0,1,", ["0", "1"])]
)
def test_what_cuda_would_not_see_is_not_claimed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, visible: str, names: list[str]
) -> None:
    listing(monkeypatch, tmp_path, TWO)
    monkeypatch.setenv(gpus.VISIBLE, visible)
    assert [gpu.name for gpu in gpus.visible_gpus()] == names


def test_lock_files_are_for_all_users(tmp_path: Path) -> None:
    before = os.umask(0o077)
    claim(1, [Gpu("0", "GPU-0aa")], tmp_path)
    os.umask(before)
    (path,) = tmp_path.glob("*.lock")
    assert stat.S_IMODE(path.stat().st_mode) == 0o666
    release(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two users")
def test_another_user_finds_the_lock_of_the_first(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    for parent in shared.parents[:4]:
        parent.chmod(parent.stat().st_mode | 0o055)
    claim(1, [Gpu("0", "GPU-0aa")], shared)
    file = gpus._lock_file(shared, Gpu("0", "GPU-0aa"))
    os.close(file)
    child = os.fork()
    if child == 0:
        os.setuid(65534)
        taken, in_use = gpus._take(1, [Gpu("0", "GPU-0aa")], shared)
        os._exit(0 if not taken and in_use == 1 else 1)
    assert os.waitpid(child, 0)[1] == 0
    release(shared)


def test_all_or_none(tmp_path: Path) -> None:
    three = [Gpu(str(at), f"GPU-{at}") for at in range(3)]
    claim(2, three, tmp_path)
    for _ in range(2):
        assert gpus._take(2, three, tmp_path) == ([], 2)
    assert gpus._take(1, three, tmp_path) == ([three[2]], 2)
    release(tmp_path)


def test_processes_that_want_two_of_three_take_turns(tmp_path: Path) -> None:
    program = (
        "import os, sys, time; from pathlib import Path; from scripts.lib import gpus\n"
        "gpus.POLL_SECONDS = 0.02\n"
        "folder = Path(sys.argv[1])\n"
        "gpus.claim(2, [gpus.Gpu(str(n), str(n)) for n in range(3)], folder / 'locks')\n"
        "os.mkdir(folder / 'busy'); time.sleep(0.1); os.rmdir(folder / 'busy')\n"
    )
    (tmp_path / "locks").mkdir()
    processes = [
        subprocess.Popen([sys.executable, "-c", program, tmp_path], cwd=PROJECT) for _ in range(4)
    ]
    assert [process.wait(timeout=30) for process in processes] == [0, 0, 0, 0]


def test_waiting_is_said_once_and_ends(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    two = [Gpu("0", "GPU-0aa"), Gpu("1", "GPU-1bb")]
    claim(1, two, tmp_path)
    (held,) = [
        int(entry.name)
        for entry in Path("/proc/self/fd").iterdir()
        if "GPU-0aa" in os.path.realpath(entry)
    ]
    waiting = threading.Thread(target=claim, args=(2, two, tmp_path), daemon=True)
    waiting.start()
    time.sleep(0.3)
    assert waiting.is_alive()
    os.close(held)
    assert soon(lambda: not waiting.is_alive())
    assert capfd.readouterr().err == "waiting for 2 free GPUs (1 of 2 in use by other runs)\n"
    release(tmp_path)


def test_a_process_of_a_launch_can_keep_to_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(gpus.VISIBLE, "2,GPU-1bb")
    monkeypatch.setenv("LOCAL_RANK", "1")
    narrow_to_own_gpu()
    assert os.environ[gpus.VISIBLE] == "GPU-1bb"
    narrow_to_own_gpu()
    assert os.environ[gpus.VISIBLE] == "GPU-1bb"
