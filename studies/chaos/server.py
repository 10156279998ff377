"""A PostgreSQL server of one's own, and ways to disturb it."""

from __future__ import annotations

import importlib
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Server:
    """A server with one database.

    Args:
        running: what `pgserver` has started.

    Attributes:
        url: of the database, for SQLAlchemy.
    """

    def __init__(self, running: Any) -> None:
        self._running = running
        running.psql("create database chaos;")
        self.url = str(running.get_uri("chaos")).replace("postgresql://", "postgresql+psycopg://")

    def break_connections(self) -> None:
        """End every connection to the database, as a firewall or a proxy that restarts does."""
        self._running.psql(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where pid <> pg_backend_pid() and datname = 'chaos';"
        )

    def stop(self) -> None:
        """End the server at once, as a machine that loses its power does."""
        commands: Any = importlib.import_module("pgserver._commands")
        commands.pg_ctl(["-m", "immediate", "-w", "stop"], pgdata=self._running.pgdata, user=self._running.system_user)

    def start(self) -> None:
        """Start it again, with what it had promised to keep."""
        self._running.ensure_postgres_running()


@contextmanager
def serving() -> Iterator[Server]:
    """Give a server with a database for the storm."""
    with running_server() as running:
        yield Server(running)


@contextmanager
def running_server() -> Iterator[Any]:
    """Give what pgserver runs, in a folder of its own; as root as another user, who must be able to enter that."""
    with warnings.catch_warnings():
        # of the folder for its sockets
        warnings.simplefilter("ignore")
        pgserver: Any = importlib.import_module("pgserver")
    folder = Path(tempfile.mkdtemp(prefix="autowarm-pg-"))
    folder.chmod(0o755)
    try:
        with pgserver.get_server(folder / "data", cleanup_mode="stop") as running:
            yield running
    finally:
        shutil.rmtree(folder, ignore_errors=True)
