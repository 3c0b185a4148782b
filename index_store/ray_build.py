"""Photo extraction on a cluster, by Ray Data (https://docs.ray.io/en/latest/data/data.html).

Only the names of photos are sent out, and their extracted data comes back. So every machine needs
the folder of photos, this project and the model's file at the same paths as here: one shared
folder, mounted everywhere, is enough. Sending the photos themselves would need no mount, but then
this machine's network would limit the number of workers.

Only this machine writes the store, from the same results by the same code as without a cluster.
"""

from __future__ import annotations

import logging
import os
import pickle
import platform
import socket
import warnings
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import cv2

from extractor import BadModel, available_cores

from .errors import ClusterUnusable
from .extraction import Extraction, Read, Spread
from .parameters import ExtractionSpec, extraction_spec_of

if TYPE_CHECKING:
    from ray.data import Dataset

LOCAL = "local"  # address that starts a cluster on this machine only
PHOTOS_A_TASK = 16  # a killed process loses the work on at most this many
TRIES = 5  # per task; otherwise photos that crash every reader would be retried forever
OBJECT_STORE = 256 * 2**20  # bytes of shared memory for results in transit, if we start the cluster
PATIENCE = 10.0  # seconds for a cluster to answer
CLIENT = "ray://"


def on_cluster(address: str) -> Spread:
    """The `spread` argument of `build` for doing the work on a Ray cluster.

    Args:
        address: "auto" for the cluster that this machine belongs to, HOST:PORT for a specific one,
            or LOCAL.

    Raises:
        ClusterUnusable: Ray is not installed, or results cannot be streamed through the address.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # before Ray starts: turns off usage reports
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # relevant errors are raised, too
    try:
        import ray.data  # noqa: F401
    except ImportError:
        raise ClusterUnusable(
            "Ray is not installed; run: pip install -r requirements-ray.txt"
        ) from None
    if address.startswith(CLIENT):
        raise ClusterUnusable(
            f"Results cannot be streamed through {address}. Run this on a machine of the cluster, "
            "with --ray auto."
        )
    return partial(spread_over, address)


def spread_over(address: str, work: Extraction, files: list[str]) -> Generator[Read, None, None]:
    """Process files on a cluster, yielding results in order of completion.

    Files that a machine could not read are read again here, so a photo is only skipped for a reason
    that holds on this machine.

    Args:
        address: see `on_cluster`.
        work: function to send to each machine.
        files: names of files in `work.roots`.

    Raises:
        ClusterUnusable: the cluster cannot be reached, a machine has a different setup from this
            one, or a task failed TRIES times.
    """
    if not files:
        return
    import ray

    with connected(address):
        spec = extraction_spec_of(work.extractor, work.as_stored)
        tasks = -(-len(files) // PHOTOS_A_TASK)
        cores = max(1, int(ray.cluster_resources().get("CPU", 0)))
        with warnings.catch_warnings():
            # By default processes are restarted without limit, and so would be tasks. Ray
            # deprecates this way of limiting them, but has no other yet.
            warnings.simplefilter("ignore", DeprecationWarning)
            results = ray.data.from_items(files, override_num_blocks=tasks).map(
                cast(Any, Worker),  # classes are allowed, though the type says functions
                fn_constructor_args=(pickle.dumps(work), spec, files[0]),
                compute=ray.data.ActorPoolStrategy(min_size=1, initial_size=min(tasks, cores)),
                num_cpus=1,
                max_task_retries=TRIES - 1,
            )
        try:
            with closing(rows_of(results)) as rows:
                for row in rows:
                    if row["failure"]:
                        raise ClusterUnusable(row["failure"])
                    read = pickle.loads(row["read"])
                    yield work(read.file) if read.problem else read
        except ray.exceptions.RayError as error:
            raise ClusterUnusable(
                f"The cluster failed ({last_line(error)}). Finished work is kept; run the same "
                "command again to resume."
            ) from error


def rows_of(results: Dataset) -> Generator[dict[str, Any], None, None]:
    """The rows of a data set as they are computed, read in the caller's thread.

    `Dataset.iter_rows` reads ahead in threads that keep running when iteration stops early. If one
    of them requests a block from Ray after `ray.shutdown`, this process exits silently with code 1.
    """
    import ray
    from ray.data.block import BlockAccessor

    for bundle in results.iter_internal_ref_bundles():
        for entry in bundle.blocks:
            block = BlockAccessor.for_block(ray.get(entry.ref))
            yield from block.iter_rows(public_row_format=True)


class Worker:
    """The work, in a process with one core and its own model.

    Args:
        work: a pickled `Extraction`.
        spec: `extraction_spec_of` on the machine that writes the store.
        file: one of the files to be read.
    """

    def __init__(self, work: bytes, spec: ExtractionSpec, file: str):
        cv2.setNumThreads(1)
        self.problem = ""
        try:
            self.work: Extraction = pickle.loads(work)
        except (BadModel, OSError) as error:
            self.problem = f"{platform.node()} cannot describe photos: {error}"
            return
        if extraction_spec_of(self.work.extractor, self.work.as_stored) != spec:
            self.problem = (
                f"{platform.node()} would describe photos in another way than this machine. It "
                "needs the same version of this project, the same model and the same engine."
            )
        elif not os.path.lexists(self.work.roots / file):
            self.problem = (
                f"{platform.node()} has no {self.work.roots / file}. The folder of photos must be "
                "at the same path on every machine."
            )

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """A row with the name of a photo -> the pickled `Read`, or the reason for failure."""
        if self.problem:
            return {"failure": self.problem, "read": b""}
        try:
            return {"failure": "", "read": pickle.dumps(self.work(row["item"]))}
        except Exception as error:  # an unexpected error: known ones are in the `Read`
            return {"failure": f"{platform.node()} fails at {row['item']}: {error!r}", "read": b""}


def check_reachable(address: str) -> None:
    """Check that a cluster answers; Ray itself would retry for many minutes.

    Raises:
        OSError, ValueError: there is no answer, or the address is invalid.
    """
    from ray._private.services import canonicalize_bootstrap_address_or_die

    host, _, port = canonicalize_bootstrap_address_or_die(address).rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), PATIENCE).close()


def last_line(error: BaseException) -> str:
    """The last line of an error's message, below the tracebacks of other machines."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip().rstrip(".")


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Connect to a cluster as its driver. Raises ClusterUnusable."""
    import ray

    options: dict[str, Any] = {"logging_level": logging.CRITICAL, "log_to_driver": False}
    local_options: dict[str, Any] = {
        "num_cpus": available_cores(),
        "include_dashboard": False,
        "object_store_memory": OBJECT_STORE,
        "_node_ip_address": "127.0.0.1",
    }
    try:
        if address == LOCAL:
            ray.init(LOCAL, **options, **local_options)
        else:
            check_reachable(address)
            ray.init(address, **options)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise ClusterUnusable(
            f"There is no Ray cluster at {address} ({last_line(error)})."
        ) from error
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = context.print_on_execution_start = False
        log = logging.getLogger("ray.data")  # still goes to Ray's own log file, with tracebacks
        log.handlers = [handler for handler in log.handlers if handler.name != "console"]
        yield
    finally:
        ray.shutdown()
