"""Where the work of a run is done: in this process, on this machine, on a cluster."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from wsiseg.errors import ConfigurationError
from wsiseg.execution.executor import Executor, InlineExecutor
from wsiseg.store.folders import RunFolder
from wsiseg.store.lock import Lock

MAX_FILE_BYTES = 1 << 20

_LINE = r"^[^\x00-\x1f\x7f]*$"
"""Settings end up in lines of a job script: none may bring a line of its own."""

Line = Annotated[str, Field(min_length=1, max_length=1000, pattern=_LINE)]
Minutes = Annotated[float, Field(gt=0, le=60 * 24 * 30)]


class _Choice(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Inline(_Choice):
    """Everything in this process, one task after the other."""

    kind: Literal["inline"] = "inline"


class Local(_Choice):
    """Processes on this machine.

    Attributes
    ----------
    workers
        Number of processes for the work on CPUs; ``None``: one a core, or as many as the memory
        holds.
    threads
        Threads that each spreads a prediction over; ``None``: those of its share of the cores.
    wait_minutes
        How long to go on without any process that works.
    """

    kind: Literal["local"] = "local"
    workers: Annotated[int, Field(ge=1, le=10_000)] | None = None
    threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    wait_minutes: Minutes = 5


class Joined(_Choice):
    """Workers of a Dask scheduler that stands.

    The run directory and the slides must have the same paths on every worker.

    Attributes
    ----------
    address
        Of the scheduler, e.g. ``tcp://10.0.0.5:8786``.
    wait_minutes
        How long to go on without any worker.
    """

    kind: Literal["scheduler"] = "scheduler"
    address: Line
    wait_minutes: Minutes = 60


class Slurm(_Choice):
    """Workers in jobs of SLURM, submitted from here and ended with the run.

    Attributes
    ----------
    jobs
        How many jobs are kept queued or running.
    cores, memory
        Of each job, e.g. 16 and ``"64GB"``.
    workers
        Worker processes in each job, by default one a core; they share its memory.
    walltime
        Of each job, as SLURM writes it: ``"08:00:00"``. Jobs that end are replaced.
    queue, account
        Partition and account, where the site asks for them.
    name
        Of the jobs.
    gpu
        Whether each job asks for a GPU; it then has a single worker process.
    python
        The interpreter that runs the workers; by default the one that runs this.
    interface
        The network interface that workers and scheduler meet on, e.g. ``"ib0"``.
    scratch
        Local folder for the workers' temporary files.
    directives
        More ``#SBATCH`` lines, without that word.
    prologue
        Lines of shell that are run before the worker.
    encrypted
        Talk over TLS, with certificates made for this run and kept in the run directory while
        it goes on. Without it whoever reaches the scheduler's port can have code run.
    wait_minutes
        How long to go on without any job that runs.
    """

    kind: Literal["slurm"]
    jobs: Annotated[int, Field(ge=1, le=10_000)]
    cores: Annotated[int, Field(ge=1, le=1024)]
    memory: Annotated[str, Field(pattern=r"^\d+(\.\d+)? ?[KMGT]i?B$")]
    workers: Annotated[int, Field(ge=1, le=1024)] | None = None
    walltime: Annotated[str, Field(pattern=r"^(\d+-)?\d+(:\d\d){0,2}$")] = "08:00:00"
    queue: Line | None = None
    account: Line | None = None
    name: Annotated[str, Field(pattern=r"^[\w.-]{1,64}$")] = "wsiseg"
    gpu: bool = False
    python: Line | None = None
    interface: Annotated[str, Field(pattern=r"^[\w.:-]{1,64}$")] | None = None
    scratch: Path | None = None
    directives: tuple[Line, ...] = ()
    prologue: tuple[Line, ...] = ()
    encrypted: bool = True
    wait_minutes: Minutes = 60 * 24

    @property
    def processes(self) -> int:
        """Worker processes in each job."""
        return 1 if self.gpu else self.workers or self.cores

    @property
    def worker_bytes(self) -> int:
        """Memory of each worker process."""
        number, unit = re.split(r" ?(?=[KMGT])", self.memory)
        base = 1024 if "i" in unit else 1000
        return int(float(number) * base ** ("KMGT".index(unit[0]) + 1) / self.processes)


Cluster = Inline | Local | Joined | Slurm

_ANY: TypeAdapter[Cluster] = TypeAdapter(
    Annotated[Inline | Local | Joined | Slurm, Field(discriminator="kind")]
)


def read_cluster(path: str | Path) -> Cluster:
    """The choice in a TOML file: ``kind`` is ``"slurm"``, ``"scheduler"``, ``"local"`` or
    ``"inline"``, the other keys are the fields of :class:`Slurm` and its like.

    Raises
    ------
    ConfigurationError
        If the file cannot be read, a key is unknown or missing, or a value is wrong.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ConfigurationError(f"{path} is larger than {MAX_FILE_BYTES >> 20} MB")
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"cannot read the cluster settings {path}: {error}") from error
    return _checked(values, path)


def _checked(values: Mapping[str, Any], path: Path) -> Cluster:
    try:
        return _ANY.validate_python(dict(values))
    except ValidationError as error:
        told = "; ".join(
            f"{'.'.join(str(part) for part in item['loc'][1:]) or 'kind'}: {item['msg']}"
            for item in error.errors()
        )
        raise ConfigurationError(f"{path}: {told}") from error


def choose_cluster(
    *,
    workers: int | None = None,
    threads: int | None = None,
    inline: bool = False,
    scheduler: str | None = None,
) -> Cluster:
    """The choice that a few plain settings stand for.

    Raises
    ------
    ConfigurationError
        If they contradict each other.
    """
    if inline and workers is not None:
        raise ConfigurationError("inline does everything in one process: it takes no workers")
    if threads is not None and (inline or scheduler is not None):
        raise ConfigurationError(
            "threads are those of the processes started here: set OMP_NUM_THREADS for a run in one "
            "process and for workers that stand"
        )
    if scheduler is not None:
        if inline or workers is not None:
            raise ConfigurationError(
                "a scheduler that stands has workers of its own: it goes neither with inline nor "
                "with a number of workers"
            )
        return Joined(address=scheduler)
    return Inline() if inline else Local(workers=workers, threads=threads)


@dataclass(frozen=True, slots=True)
class Need:
    """What a run asks of those who work for it.

    Attributes
    ----------
    run
        The run directory.
    lock
        This driver's hold on it: workers must see it.
    cpu, cards
        The processes to start here: how many without a graphics card, and what
        ``CUDA_VISIBLE_DEVICES`` is to be for each of the others (empty: as it is).
    gpu
        Whether blocks are segmented on graphics cards.
    worker_bytes
        Memory that each process may need.
    threads
        Threads that each process started here spreads a prediction over.
    """

    run: RunFolder
    lock: Lock
    cpu: int
    cards: tuple[str, ...]
    gpu: bool
    worker_bytes: int
    threads: int = 1


def open_executor(cluster: Cluster, need: Need, tell: Callable[[str], None]) -> Executor:
    """Open what a choice names; ``tell`` hears what is worth a line to the user.

    Raises
    ------
    ClusterError
        If it cannot be reached or used.
    MissingExtraError
        If it needs a package that is not installed.
    """
    if isinstance(cluster, Inline):
        return InlineExecutor()
    from wsiseg.execution.dask_executor import DaskExecutor

    return DaskExecutor(cluster, need, tell)


def visible_gpus(
    environment: Mapping[str, str] = os.environ, devices: Path = Path("/dev")
) -> tuple[str, ...]:
    """What ``CUDA_VISIBLE_DEVICES`` may name: the GPUs it names now, or all of this machine.

    Parameters
    ----------
    environment
        Where that variable is looked up.
    devices
        Folder of the device files.
    """
    stated = environment.get("CUDA_VISIBLE_DEVICES")
    if stated is not None:
        return tuple(name.strip() for name in stated.split(",") if name.strip() not in ("", "-1"))
    found = [re.fullmatch(r"nvidia(\d+)", path.name) for path in devices.glob("nvidia*")]
    return tuple(sorted((match[1] for match in found if match), key=int))
