"""A Slurm cluster of several nodes on this one machine, for tests: standard library only.

    munged      key and socket of its own
    slurmctld   one, on a free port of 127.0.0.1
    slurmd -N   one for each node, likewise (https://slurm.schedmd.com/programmer_guide.html, "multiple slurmd support")

Everything that it writes is in one temporary folder, and a Slurm that this machine may have is neither asked nor told.
What it started is ended in the end: the daemons, and whatever has the folder's slurm.conf in its environment.
"""

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

PROGRAMS = ["munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel"]
# Debian's. No recommendations: those are for a machine that is a cluster's for good.
PACKAGES = ["munge", "slurmctld", "slurmd", "slurm-client"]

# Timeouts are as short as Slurm's resolution of seconds allows: a node counts as failed after 5 seconds, and a job that
# is queued again waits until the credential of its first start has expired (120 seconds if not set, 5 at least).
CONFIG = """\
ClusterName=b158
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={dir}/munge.socket,cred_expire=6
StateSaveLocation={dir}/state
SlurmdSpoolDir={dir}/spool-%n
SlurmctldPidFile={dir}/slurmctld.pid
SlurmdPidFile={dir}/slurmd-%n.pid
SlurmctldLogFile={dir}/slurmctld.log
SlurmdLogFile={dir}/slurmd-%n.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SwitchType=switch/none
MpiDefault=none
MailProg=/bin/true
SlurmdTimeout=5
KillWait=5
ReturnToService=2
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=1,bf_interval=2,sched_interval=2
"""


# What tells a node's processes: the first is set here, for daemons, the second by Slurm, for tasks.
NODE = "B158_SLURM_NODE"
NAMES = [NODE, "SLURMD_NODENAME"]


class Unavailable(Exception):
    """There is no Slurm here, and it cannot be installed."""


def install():
    """Installs Debian's Slurm where there is none."""
    missing = [name for name in PROGRAMS if not find(name)]
    if not missing:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise Unavailable(f"no {', '.join(missing)} here; on Debian: apt-get install {' '.join(PACKAGES)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *PACKAGES]):
        done = subprocess.run(
            ["apt-get", *command], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        if done.returncode != 0:
            raise Unavailable(f"apt-get {command[0]} failed: {done.stdout.strip()[-300:]}")
    missing = [name for name in PROGRAMS if not find(name)]
    if missing:
        raise Unavailable(f"Debian's packages have no {', '.join(missing)}")


def find(name):
    """A program's path; daemons are not in everybody's PATH."""
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def until(what, condition, seconds=60, pause=0.1):
    """Waits until `condition()` is true, and returns what it is."""
    end = time.monotonic() + seconds
    while True:
        if value := condition():
            return value
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds} seconds: {what}")
        time.sleep(pause)


class Cluster:
    """Nodes n1, n2, ... with one core each."""

    def __init__(self, nodes):
        self.nodes = [f"n{index + 1}" for index in range(nodes)]
        # A short name: sockets have at most 108 bytes. munged wants no folder that others may write to.
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="b158-slurm-"))
        self.config = self.dir / "slurm.conf"
        foreign = ("SLURM", "SBATCH")
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        self.environment["SLURM_CONF"] = str(self.config)
        self.daemons = {}
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def _start(self):
        self.dir.chmod(0o755)
        (self.dir / "state").mkdir()
        key = self.dir / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        with Ports() as ports:
            host = socket.gethostname().split(".")[0]
            user = subprocess.run(["id", "-un"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
            text = CONFIG.format(dir=self.dir, host=host, port=ports.take(), user=user)
            for node in self.nodes:
                text += f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={ports.take()} CPUs=1\n"
        text += f"PartitionName=all Nodes={','.join(self.nodes)} Default=YES MaxTime=INFINITE State=UP\n"
        self.config.write_text(text)
        files = {"key-file": "munge.key", "socket": "munge.socket", "pid-file": "munged.pid"}
        files |= {"log-file": "munged.log", "seed-file": "munged.seed"}
        self._daemon("munged", "--foreground", "--force", *(f"--{k}={self.dir / v}" for k, v in files.items()))
        until("munged has its socket", (self.dir / "munge.socket").exists)
        self._daemon("slurmctld", "-D", "-i", "-f", self.config)
        for node in self.nodes:
            self.start(node)
        until("all nodes are idle", lambda: all(self.state(node).startswith("IDLE") for node in self.nodes))

    def _daemon(self, *command, name=None):
        name = name or command[0]
        with open(self.dir / f"{name}.out", "ab") as out:
            self.daemons[name] = subprocess.Popen(
                [find(command[0]), *map(str, command[1:])],
                env=self.environment | {NODE: name},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def start(self, node):
        """Starts a node that does not run."""
        self._daemon("slurmd", "-D", "-N", node, "-f", self.config, name=node)

    def fail(self, node):
        """What a power failure does to a node: all that runs on it is gone at once."""
        daemon = self.daemons.pop(node)
        daemon.kill()
        daemon.wait()
        processes = [(pid, variables) for pid, variables in self._processes() if node in map(variables.get, NAMES)]
        # The steps' daemons first: they would report that their tasks were killed.
        for pid, _ in sorted(processes, key=lambda process: NODE not in process[1]):
            end(pid, signal.SIGKILL)

    def warn(self, job):
        """Sends a job's script the signal that Slurm sends before the end of a time limit. (`scancel --batch` does, too,
        but 22.05 then says that it could not, and sends it again and again.)"""
        for pid, variables in self._processes():
            command = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
            if variables.get("SLURM_JOB_ID") == job and b"slurm_script" in command:
                end(pid, signal.SIGUSR1)

    def run(self, *command, **options):
        """Runs one of Slurm's commands, or one that uses them, and returns what it printed."""
        done = subprocess.run(
            [find(command[0]) or command[0], *map(str, command[1:])],
            env=self.environment | options.pop("environment", {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            **options,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(map(str, command))}: {done.stdout.strip()}")
        return done.stdout

    def state(self, node):
        """A node's state, such as IDLE or DOWN*."""
        try:
            return field(self.run("scontrol", "show", "node", "-o", node), "State")
        except RuntimeError:
            return ""

    def job(self, job):
        """The fields of a job, or of one task of an array (JOB_TASK)."""
        line = self.run("scontrol", "show", "job", "-o", job).splitlines()[0]
        return {name: field(line, name) for name in ("JobId", "JobState", "Restarts", "BatchHost", "Reason", "ExitCode")}

    def logs(self):
        """The ends of the daemons' logs, for a failure's report."""
        text = ""
        for path in sorted([*self.dir.glob("*.log"), *self.dir.glob("*.out")]):
            lines = path.read_text(errors="replace").splitlines()[-25:]
            text += "".join(f"{path.name}: {line}\n" for line in lines)
        return text

    def _processes(self):
        """Everything that this cluster has started, by the configuration in its environment, which comes with it."""
        for path in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                environment = (path / "environ").read_bytes().decode(errors="replace")
            except OSError:
                continue
            variables = dict(variable.partition("=")[::2] for variable in environment.split("\0"))
            if variables.get("SLURM_CONF") == str(self.config) and int(path.name) != os.getpid():
                yield int(path.name), variables

    def close(self):
        """Ends what it started and removes what it wrote."""
        # The controller goes first, and orderly: it has processes of its own.
        for name in sorted(self.daemons, key=lambda name: name != "slurmctld"):
            daemon = self.daemons[name]
            daemon.terminate()
            try:
                daemon.wait(5)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        end_of_patience = time.monotonic() + 5
        while (remaining := list(self._processes())) and time.monotonic() < end_of_patience:
            for pid, _ in remaining:
                end(pid, signal.SIGKILL)
            time.sleep(0.1)
        shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Ports:
    """Free ports of 127.0.0.1, no two the same."""

    def __enter__(self):
        self.probes = []
        return self

    def take(self):
        probe = socket.socket()
        self.probes.append(probe)
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]

    def __exit__(self, *_):
        for probe in self.probes:
            probe.close()


def field(line, name):
    """A field of what `scontrol show -o` prints."""
    for word in line.split():
        if word.startswith(f"{name}="):
            return word.partition("=")[2]
    return ""


def end(pid, how):
    """Sends a signal to a process that may be gone."""
    try:
        os.kill(pid, how)
    except ProcessLookupError:
        pass
