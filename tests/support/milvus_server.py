"""A live Milvus server, of the wheel that holds one."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import milvus

from index_store.ann.remote.milvus import connect
from tests.conftest import PATIENCE


@dataclass
class Running:
    """A server.

    Attributes:
        address: Where it answers.
        process: Its own.
    """

    address: str
    process: subprocess.Popen

    @contextmanager
    def silent(self) -> Iterator[None]:
        """It takes connections, but does not answer."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)


@contextmanager
def running(folder: Path) -> Iterator[Running]:
    """A server on free ports, until the `with` block ends.

    Not by the wheel's own `start`: that waits for a server that has ended, and one that runs on the
    machine already, with its lock and its etcd, would keep it from running.

    Args:
        folder: For programs, data and logs, 400 MB; emptied at the end.
    """
    config = milvus.MilvusServerConfig(data_dir=str(folder))
    config.resolve()
    milvus._initialize_data_files(str(folder))
    port = config.get("proxy_port")
    metrics, peers, clients = free_ports(3)
    (folder / "etcd.yaml").write_text(
        f"listen-peer-urls: http://127.0.0.1:{peers}\n"
        f"initial-advertise-peer-urls: http://127.0.0.1:{peers}\n"
        f"initial-cluster: default=http://127.0.0.1:{peers}\n"
        f"listen-client-urls: http://127.0.0.1:{clients}\n"
        f"advertise-client-urls: http://127.0.0.1:{clients}\n"
    )
    environment = os.environ | {
        "DEPLOY_MODE": "STANDALONE",
        "METRICS_PORT": str(metrics),
        "ETCD_CONFIG_PATH": str(folder / "etcd.yaml"),
        "LD_LIBRARY_PATH": str(folder / "bin"),
    }
    command = [folder / "bin" / "milvus", "run", "standalone", "-alias", f"test{port}"]
    log = folder / "logs" / "output"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        address = f"http://127.0.0.1:{port}"
        wait_for(address, process, log)
        yield Running(address, process)
    finally:
        process.kill()  # it would take its time, and nothing of it is kept
        process.wait()
        shutil.rmtree(folder)


def free_ports(count: int) -> list[int]:
    """Ports of this machine on which nothing listens."""
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def wait_for(address: str, process: subprocess.Popen, log: Path) -> None:
    """Return once a server answers questions about collections."""
    begin = time.monotonic()
    while True:
        try:
            connect(address).list_collections(timeout=1)
            return
        except Exception as error:  # of the client's many kinds
            said = log.read_text(errors="replace")[-2000:]
            assert process.poll() is None, f"the server has ended: {said}"
            assert time.monotonic() - begin < PATIENCE, f"{error}: {said}"
            time.sleep(0.2)
