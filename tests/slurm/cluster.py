"""A whole Slurm on this machine's loopback address, from Debian's packages, for as long as needed.

    python -m tests.slurm.cluster     # until Ctrl-C; prints what its clients want to know

Two CPU nodes (cpu1, cpu2) and two with pretended GPUs (gpu1: two a100, gpu2: four h100), a slurmd
each; slurmctld, munge, and slurmdbd with a MariaDB of its own. Everything lives in one directory:
/etc/slurm, /etc/munge and systemd are not touched. The one exception is a line in /etc/hosts where
the host's name is unknown or no loopback address, taken out at the end.

However the process ends that has brought it up: the kernel ends the daemons with it, and a process
that waits for that ends the jobs.
"""

import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from scripts.lib.locks import lock

PACKAGES = "slurmctld slurmd slurm-client munge slurmdbd mariadb-server-core"
DAEMONS = ("munged", "slurmctld", "slurmd", "slurmdbd", "mariadbd")
CLIENTS = (
    "sacct", "sacctmgr", "sbatch", "scancel", "scontrol", "sinfo", "squeue", "srun", "sstat",
)  # fmt: skip
# Where daemons of Debian lie, which are on the PATH of root alone.
SEARCHED = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
HOSTS = Path("/etc/hosts")
HOSTS_MARK = "# added by tests/slurm"

# What the nodes say that they have, not what is there: the rules ask for as much as on a real
# cluster. With eight CPUs a node runs one job at a time, which suits a small machine.
NODE_CPUS = 8
NODE_MEMORY_MB = 512_000
NODES = {"cpu1": "", "cpu2": "", "gpu1": "Gres=gpu:a100:2", "gpu2": "Gres=gpu:h100:4"}
PORT = int(os.environ.get("SLURM_TEST_PORT", "27000"))


def missing() -> str | None:
    """Why Slurm cannot be brought up here, in a line; `None` where it can."""
    absent = [name for name in (*DAEMONS, "sbatch") if not shutil.which(name, path=SEARCHED)]
    if absent:
        return f"no {absent[0]} here: apt-get install --no-install-recommends {PACKAGES}"
    if os.geteuid() != 0:
        return "slurmd starts jobs as their users, which only root can: run as root"
    return None


def looks_for_cgroups(said: str) -> bool:
    """Whether slurmd wants cgroups unless it is told not to, which it does from 23.11 on, by what
    `slurmd -V` says: "slurm 23.11.4", of Debian "slurm-wlm 22.05.8".
    """
    year, month = re.search(r" (\d+)\.(\d+)", said).groups()
    return (int(year), int(month)) >= (23, 11)


class ClusterError(Exception):
    """A daemon that did not come up, with the ends of all logs."""


class Cluster:
    """A running Slurm; `close` ends it, with all its jobs.

    `claim` is the open file by whose lock the directory and the ports are this cluster's.
    """

    def __init__(self, directory: Path, port: int, claim: IO[bytes]) -> None:
        self.path = directory
        self.port = port
        self.environment = self.seen_from(dict(os.environ))
        self.daemons: dict[str, subprocess.Popen] = {}
        # It hears by the end of its input that this process has ended, or is about to; the claim
        # stays until it is done.
        self._cleaner = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.slurm.cluster",
                "--when-input-ends",
                str(directory),
            ],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            pass_fds=[claim.fileno()],
            start_new_session=True,
        )
        # munge wants no folder above its socket that others may write to.
        old_umask = os.umask(0o022)
        try:
            end_leftovers(directory)
            shutil.rmtree(directory, ignore_errors=True)
            for name in ("bin", "dev", "etc", "log", "run", "spool", "state"):
                (directory / name).mkdir(parents=True)
            _let_host_name_mean_loopback()
            self._write_configuration()
            self._start_all()
        except BaseException:
            self.close()
            raise
        finally:
            os.umask(old_umask)

    def close(self) -> None:
        """End everything at once: nobody needs its state."""
        for daemon in reversed(self.daemons.values()):
            daemon.kill()
            daemon.wait()
        self.daemons.clear()
        assert self._cleaner.stdin
        self._cleaner.stdin.close()
        self._cleaner.wait()

    # What tests do with it

    def seen_from(self, environment: dict[str, str]) -> dict[str, str]:
        """An environment from which jobs go to this Slurm.

        They take the PATH along, and find by it the clients that know this Slurm.
        """
        return {
            **environment,
            "PATH": f"{self.path}/bin:{environment.get('PATH', '')}",
            "SLURM_CONF": f"{self.path}/etc/slurm.conf",
        }

    def run(self, *command: str) -> str:
        """What a Slurm client prints."""
        done = subprocess.run(
            [self._client(command[0]), *command[1:]],
            env=self.environment,
            text=True,
            capture_output=True,
            timeout=60,
            check=False,
        )
        if done.returncode:
            raise ClusterError(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.stdout

    def jobs(self, directory: Path | None = None) -> list[dict[str, str]]:
        """The jobs of the last hour as `scontrol show job -d` tells of them, oldest first.

        An array has a job for each of its tasks. With `directory`: the jobs that work there.
        """
        lines = self.run("scontrol", "show", "job", "-d", "-o").splitlines()
        jobs = [dict(re.findall(r"(\S+?)=(\S*)", line)) for line in lines if "JobId=" in line]
        jobs.sort(key=lambda job: int(job["JobId"]))
        return [job for job in jobs if directory is None or job["WorkDir"] == str(directory)]

    @contextmanager
    def outage(self, *clients: str) -> Iterator[Path]:
        """Let clients fail as they do while their daemon cannot be reached.

        The file that is given has a line for each command that was in vain.
        """
        asked = self.path / "log" / "outage"
        asked.touch()
        instead = f'echo "$0 $*" >> {asked}; echo "error: cannot connect" >&2; exit 1'
        try:
            for name in clients:
                self._write_client(name, instead)
            yield asked
        finally:
            for name in clients:
                self._write_client(name)

    def lose(self, node: str) -> None:
        """End a node's daemon, and let the controller notice at once instead of in minutes.

        What runs there goes on, as on a node that only the network has gone from.
        """
        self.daemons[f"slurmd.{node}"].kill()
        self.daemons.pop(f"slurmd.{node}").wait()
        self.run("scontrol", "update", f"nodename={node}", "state=down", "reason=lost")

    def bring_back(self, node: str) -> None:
        """Start the daemon of a node that was lost."""
        self._start(f"slurmd.{node}", "-D", "-N", node)
        self._wait(f"slurmd.{node}", lambda: "down" not in self.run("sinfo", "-h", "-n", node))

    # How it comes up

    def _client(self, name: str) -> str:
        """A client itself, which no `outage` concerns."""
        found = shutil.which(name, path=SEARCHED)
        assert found
        return found

    def _write_client(self, name: str, instead: str | None = None) -> None:
        """A client that knows this Slurm by itself, or does something else instead.

        The executor's job step takes SLURM_CONF out of the environment before it calls `srun`.
        """
        configuration = self.environment["SLURM_CONF"]
        body = instead or f'SLURM_CONF={configuration} exec {self._client(name)} "$@"'
        # Renamed into place: nobody finds half a file, or one that is open for writing.
        new = self.path / "bin" / f".{name}"
        new.write_text(f"#!/bin/sh\n{body}\n")
        new.chmod(0o755)
        new.rename(self.path / "bin" / name)

    def _write_configuration(self) -> None:
        directory, port, host = (
            self.path,
            self.port,
            socket.gethostname().partition(".")[0],
        )
        for name in CLIENTS:
            self._write_client(name)
        # slurmd wants character devices, and no plain files.
        for number in range(4):
            (directory / f"dev/gpu{number}").symlink_to("/dev/null")
        (directory / "munge.key").touch(0o600)
        (directory / "munge.key").write_bytes(secrets.token_bytes(128))
        nodes = "\n".join(
            f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port + 2 + place} "
            f"CPUs={NODE_CPUS} RealMemory={NODE_MEMORY_MB} {more}"
            for place, (name, more) in enumerate(NODES.items())
        )
        values = {
            "dir": directory,
            "port": port,
            "dbd": port + 1,
            "host": host,
            "nodes": nodes,
        }
        values |= {"db": port + 6, "password": secrets.token_hex(12)}
        for name, text in CONFIGURATION.items():
            file = directory / "etc" / name
            file.touch(0o600 if "{password}" in text else 0o644)
            file.write_text(text.format(**values))
        if looks_for_cgroups(self.run("slurmd", "-V")):
            (directory / "etc/cgroup.conf").write_text("CgroupPlugin=disabled\n")

    def _start_all(self) -> None:
        """Start the daemons, one after the other where one needs the other."""
        run, log = self.path / "run", self.path / "log"
        self._start(
            "munged", "--foreground", f"--socket={run}/munge.socket",
            f"--key-file={self.path}/munge.key", f"--pid-file={run}/munged.pid",
            f"--seed-file={self.path}/munge.seed", f"--log-file={log}/munged.log",
        )  # fmt: skip
        self._start_database()
        self._wait("munged", (run / "munge.socket").exists)
        self._start("slurmdbd", "-D")
        self._wait(
            "slurmdbd",
            lambda: self.run("sacctmgr", "-n", "list", "cluster") is not None,
        )
        self.run("sacctmgr", "-i", "-Q", "add", "cluster", "tests")
        self.run("sacctmgr", "-i", "-Q", "add", "account", "lab", "cluster=tests")
        self.run(
            "sacctmgr",
            "-i",
            "-Q",
            "add",
            "user",
            "root",
            "account=lab",
            "cluster=tests",
        )
        self._start("slurmctld", "-D", "-c")
        for node in NODES:
            (self.path / "spool" / node).mkdir()
            self._start(f"slurmd.{node}", "-D", "-N", node)
        idle = ["idle"] * len(NODES)
        self._wait(
            "slurmctld",
            lambda: self.run("sinfo", "-h", "-N", "-o", "%T").split() == idle,
        )

    def _start_database(self) -> None:
        """Make a MariaDB and start it."""
        data, run, shared = (
            self.path / "mysql",
            self.path / "run",
            Path("/usr/share/mysql"),
        )
        data.mkdir(0o700)
        options = [
            "--no-defaults", "--user=root", f"--datadir={data}", f"--lc-messages-dir={shared}",
            "--innodb-buffer-pool-size=32M", "--innodb-log-file-size=4M", "--skip-log-bin",
            "--innodb-flush-log-at-trx-commit=0", "--performance-schema=off",
        ]  # fmt: skip
        # As mariadb-install-db does it, which would want one more package.
        tables = [
            (shared / f"mysql_{name}.sql").read_text()
            for name in ("system_tables", "performance_tables", "system_tables_data")
        ]
        tables[-1] = re.sub(r".*@current_hostname.*\n", "", tables[-1])
        # A statement a line.
        first = "create database mysql;\nuse mysql;\n"
        first += "SET @auth_root_socket='root';\nSET @skip_auth_anonymous='Y';\n"
        with (self.path / "log/bootstrap.log").open("w") as log:
            made = subprocess.run(
                [shutil.which("mariadbd", path=SEARCHED), *options, "--bootstrap"],
                input=first + "".join(tables),
                text=True,
                stdout=log,
                stderr=log,
                check=False,
            )
        if made.returncode:
            raise self._broken("mariadbd --bootstrap")
        self._start(
            "mariadbd", *options, f"--socket={run}/mysql.sock", f"--pid-file={run}/mariadbd.pid",
            "--bind-address=127.0.0.1", f"--port={self.port + 6}", "--skip-name-resolve",
            f"--init-file={self.path}/etc/init.sql", "--innodb-lock-wait-timeout=900",
        )  # fmt: skip
        self._wait("mariadbd", (run / "mysql.sock").exists)

    def _start(self, name: str, *options: str) -> None:
        """Start a daemon in the foreground, which the kernel kills when this process ends."""
        program = name.partition(".")[0]
        with (self.path / f"log/{name}.out.log").open("w") as log:
            self.daemons[name] = subprocess.Popen(
                [
                    "setpriv",
                    "--pdeathsig",
                    "KILL",
                    shutil.which(program, path=SEARCHED),
                    *options,
                ],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _wait(self, name: str, ready: Callable[[], bool]) -> None:
        """Wait until what a daemon is for works."""
        deadline = time.monotonic() + 30
        while self.daemons[name].poll() is None and time.monotonic() < deadline:
            try:
                if ready():
                    return
            except (ClusterError, subprocess.TimeoutExpired):
                pass
            time.sleep(0.1)
        raise self._broken(name)

    def _broken(self, name: str) -> ClusterError:
        ends = [
            f"== {log.name}\n{text[-1500:]}"
            for log in sorted((self.path / "log").glob("*.log"))
            if (text := log.read_text(errors="replace"))
        ]
        return ClusterError("\n".join([f"{name} did not come up", *ends]))


def end_leftovers(directory: Path) -> None:
    """Kill the jobs of the cluster in a directory, and their keepers."""
    # Once more for what was started meanwhile.
    for _ in range(5):
        pids = [
            int(entry.name)
            for entry in Path("/proc").iterdir()
            if entry.name.isdigit() and _belongs(entry, directory)
        ]
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if not pids:
            return
        time.sleep(0.1)


def _belongs(process: Path, directory: Path) -> bool:
    """Whether a process has a cluster's clients on its PATH, or a file of it open.

    slurmstepd writes its name over its environment, and has its node's log open.
    """
    if int(process.name) == os.getpid():
        return False
    try:
        if f"PATH={directory}/bin:".encode() in (process / "environ").read_bytes():
            return True
        opened = [os.readlink(file) for file in (process / "fd").iterdir()]
    except OSError:
        return False
    return any(name.startswith(f"{directory}/") for name in opened)


def _let_host_name_mean_loopback() -> None:
    """Daemons and `srun` listen where the host's name points to: let that be this machine alone."""
    host = socket.gethostname().partition(".")[0]
    try:
        loopback = socket.gethostbyname(host).startswith("127.")
    except OSError:
        loopback = False
    if not loopback:
        # Written and not replaced: in a container it is often a mount.
        HOSTS.write_text(f"127.0.0.1 {host} {HOSTS_MARK}\n{HOSTS.read_text()}")


def _forget_host_name() -> None:
    lines = HOSTS.read_text().splitlines(keepends=True)
    kept = [line for line in lines if not line.endswith(f"{HOSTS_MARK}\n")]
    if kept != lines:
        HOSTS.write_text("".join(kept))


CONFIGURATION = {
    "gres.conf": """\
AutoDetect=off
# File: without it a job gets no CUDA_VISIBLE_DEVICES.
NodeName=gpu1 Name=gpu Type=a100 File={dir}/dev/gpu[0-1]
NodeName=gpu2 Name=gpu Type=h100 File={dir}/dev/gpu[0-3]
""",
    "slurm.conf": """\
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
# cred_expire: how long a lost node's job waits before it may start elsewhere.
AuthInfo=socket={dir}/run/munge.socket,cred_expire=10
# Listen on the address of the host's name, which is made to be loopback, and not on all.
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmctldPidFile={dir}/run/slurmctld.pid
SlurmdPidFile={dir}/run/slurmd.%n.pid
SlurmctldLogFile={dir}/log/slurmctld.log
SlurmdLogFile={dir}/log/slurmd.%n.log
SlurmdSpoolDir={dir}/spool/%n
StateSaveLocation={dir}/state
# Believe what is said of the nodes below.
SlurmdParameters=config_overrides
# No cgroups, no systemd.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=2,sched_interval=2
DefMemPerCPU=100
MessageTimeout=10
# The default of Slurm: that long a job may take to end after SIGTERM.
KillWait=30
InactiveLimit=0
ReturnToService=2
# `scontrol` tells of jobs until they have been over for so long.
MinJobAge=3600
JobRequeue=1
# With NO a job that asks for more than its partition allows pends for ever.
EnforcePartLimits=ALL
Waittime=0
SlurmctldDebug=info
SlurmdDebug=info
GresTypes=gpu
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={dbd}
AccountingStorageTRES=gres/gpu,gres/gpu:a100,gres/gpu:h100
# AuthInfo does not count for this connection.
AccountingStoragePass={dir}/run/munge.socket
{nodes}
PartitionName=cpu Nodes=cpu1,cpu2 Default=YES MaxTime=7-00:00:00 State=UP
PartitionName=gpu Nodes=gpu1,gpu2 Default=NO MaxTime=7-00:00:00 State=UP
""",
    "slurmdbd.conf": """\
AuthType=auth/munge
AuthInfo=socket={dir}/run/munge.socket
DbdHost={host}
DbdAddr=127.0.0.1
DbdPort={dbd}
CommunicationParameters=NoInAddrAny
SlurmUser=root
PidFile={dir}/run/slurmdbd.pid
LogFile={dir}/log/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={db}
StorageUser=slurm
StoragePass={password}
StorageLoc=slurm_acct_db
CommitDelay=0
""",
    "init.sql": """\
CREATE DATABASE IF NOT EXISTS slurm_acct_db;
CREATE OR REPLACE USER 'slurm'@'127.0.0.1' IDENTIFIED BY '{password}';
GRANT ALL ON slurm_acct_db.* TO 'slurm'@'127.0.0.1';
""",
}


@contextmanager
def own_cluster() -> Iterator[Cluster]:
    """A cluster in the first folder, with ports of its own, that no other process has taken."""
    for port in range(PORT, PORT + 80, 10):
        directory = Path(tempfile.gettempdir()) / f"slurm-{port}"
        with directory.with_suffix(".lock").open("wb") as file:
            if lock(file):
                cluster = Cluster(directory, port, file)
                try:
                    yield cluster
                finally:
                    cluster.close()
                return
    raise ClusterError("eight clusters run here already: end one of them")


def main() -> None:
    """Bring a cluster up, and end it on Ctrl-C; or see to what one leaves behind."""
    if sys.argv[1:2] == ["--when-input-ends"]:
        directory = Path(sys.argv[2])
        sys.stdin.buffer.read()
        end_leftovers(directory)
        shutil.rmtree(directory, ignore_errors=True)
        _forget_host_name()
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    started = time.monotonic()
    with own_cluster() as cluster:
        print(f"up in {time.monotonic() - started:.1f} s; for its clients:")
        for name in ("SLURM_CONF", "PATH"):
            print(f"export {name}={cluster.environment[name]}", flush=True)
        with suppress(KeyboardInterrupt):
            signal.pause()


if __name__ == "__main__":
    main()
