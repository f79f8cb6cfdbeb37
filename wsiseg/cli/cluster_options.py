"""Options that say where the work is done."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wsiseg.errors import ConfigurationError

if TYPE_CHECKING:
    from wsiseg.execution.cluster import Cluster

SchedulerAddress = Annotated[
    str | None,
    typer.Option(
        "--scheduler",
        help="Address of a Dask scheduler to work on, e.g. tcp://10.0.0.5:8786.",
        show_default=False,
    ),
]
ClusterFile = Annotated[
    Path | None,
    typer.Option(
        "--cluster",
        help='TOML file of a cluster to work on: kind = "slurm", jobs, cores, memory, queue...',
        show_default=False,
    ),
]


def expect_workers(scheduler: str | None, cluster: Path | None, *, inline: bool) -> None:
    """Get this process ready: import what workers need, and split off what they are forked from."""
    from wsiseg.execution import nursery
    from wsiseg.execution.heap import share_heaps

    share_heaps()
    if not (scheduler or cluster or inline):
        nursery.begin_as_copy()


def where(
    workers: int | None,
    scheduler: str | None,
    cluster: Path | None,
    *,
    inline: bool,
    threads: int | None = None,
) -> Cluster:
    """What the options together stand for.

    Raises
    ------
    ConfigurationError
        If they contradict each other, or the file cannot be used.
    """
    from wsiseg.execution.cluster import choose_cluster, read_cluster

    if cluster is None:
        return choose_cluster(workers=workers, threads=threads, inline=inline, scheduler=scheduler)
    if workers is not None or threads is not None or scheduler is not None or inline:
        raise ConfigurationError(
            "--cluster says where the work is done: it goes with none of --workers, --threads, "
            "--scheduler and --inline"
        )
    return read_cluster(cluster)
