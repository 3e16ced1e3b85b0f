"""What a step shows: a bar on a terminal, lines in the log, one line for what users can mend."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]

STEP = """
import errno, os, sys, time
from scripts.lib import console
from scripts.lib.errors import UserError
console.REPORT_SECONDS = 0.2
def main():
    with console.Progress("demo", 8, "rows") as progress:
        for number in range(8):
            time.sleep(0.1)
            progress.advance(note=lambda: f"loss {number}")
    os.system("echo a child speaks")
    ENDING
console.run_step(main)
"""


def command(ending: str, log: Path) -> list[str]:
    return [sys.executable, "-c", STEP.replace("ENDING", ending), "--log", str(log)]


def test_without_a_terminal_there_are_lines_with_an_estimate(tmp_path: Path) -> None:
    log = tmp_path / "step.log"
    done = subprocess.run(
        command("console.counts('demo', 1, rows=8)", log),
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0
    assert "demo: 4 of 8 rows" in done.stdout or "demo: 3 of 8 rows" in done.stdout
    assert "min left, loss" in done.stdout
    assert done.stdout.endswith("a child speaks\ndemo: 8 rows in 1 s\n")
    assert log.read_text() == done.stdout


def test_on_a_terminal_there_is_a_bar_which_the_log_does_not_see(tmp_path: Path) -> None:
    log = tmp_path / "step.log"
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        command("pass", log), cwd=PROJECT, stdin=follower, stdout=follower, stderr=follower
    )
    os.close(follower)
    shown = b""
    try:
        while chunk := os.read(leader, 4096):
            shown += chunk
    except OSError:
        pass  # Linux reports the closed terminal so.
    os.close(leader)
    assert process.wait() == 0
    assert b"100%|" in shown
    assert b"a child speaks" in shown
    written = log.read_text()
    assert "%|" not in written
    assert "of 8 rows" in written
    assert "a child speaks" in written


@pytest.mark.parametrize(
    ("ending", "status", "message"),
    [
        ("raise UserError('seeds.jsonl: mend it')", 1, "error: seeds.jsonl: mend it"),
        ("raise KeyboardInterrupt", 130, "interrupted: run the same command again"),
        ("raise OSError(errno.ENOSPC, 'x', 'a.jsonl')", 1, "error: a.jsonl: the disk is full"),
        ("raise IsADirectoryError(errno.EISDIR, 'x', 'rows')", 1, "error: rows: is a file where"),
        ("raise RuntimeError('No space left on device')", 1, "error: the disk is full"),
    ],
)
def test_a_failure_is_one_line_and_a_status(
    tmp_path: Path, ending: str, status: int, message: str
) -> None:
    log = tmp_path / "step.log"
    done = subprocess.run(command(ending, log), cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == status
    assert message in done.stderr.splitlines()[-1]
    assert message in log.read_text().splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_bug_shows_where_it_is(tmp_path: Path) -> None:
    done = subprocess.run(
        command("1 / 0", tmp_path / "l"), cwd=PROJECT, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
    assert "ZeroDivisionError" in (tmp_path / "l").read_text()
