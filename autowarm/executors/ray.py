"""Trainings on the nodes of a Ray cluster, one a task of Ray Core.

Ray finds the node and counts its CPUs and GPUs; what a training tells comes straight to its owner, over a connection
that the task opens. Its end is heard at once when a process or a node dies, and the task hears the owner's.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path
from queue import SimpleQueue
from types import ModuleType
from typing import Any, Literal, Self

from autowarm.errors import SettingsError, StudyError
from autowarm.executors import preload
from autowarm.executors.events import Done, Event, Task, event_of, look, pickled
from autowarm.executors.local import cores
from autowarm.executors.relay import Surroundings, relay
from autowarm.executors.wire import listen, welcome
from autowarm.specs import JobInfo, JobSpec, Spec, TrainingSpec, placed, training_of

# How long a task waits for a node that is large enough, where the cluster has none; one may be starting.
PATIENCE_SECONDS = 60.0
# How often the tasks in the queue are compared with what the cluster has by then.
_LOOK_SECONDS = 1.0
# How long Ray may take to say what has become of a task whose connection has ended.
_LOST_SECONDS = 10.0
# How long the tasks may take to end when everything ends.
_END_SECONDS = 10.0
# For what goes through Ray itself, which is jobs and not data.
_STORE_BYTES = 128 * 2**20

# CPUs and GPUs of a node.
Node = tuple[float, float]


def room(nodes: Sequence[Node], cpus: float, gpus: float) -> int:
    """Return how many tasks fit side by side, each on one node.

    >>> room([(4, 0), (8, 1)], cpus=2, gpus=0), room([(4, 0), (8, 1)], cpus=2, gpus=0.5)
    (6, 2)
    """
    # a tenth of a GPU fits ten times, whatever 1 // .1 is
    return sum(int(min(has[0] / cpus, has[1] / gpus if gpus else float("inf")) + 1e-6) for has in nodes)


def threads_each(nodes: Sequence[Node], trials: int, *, processes: int, gpus: float) -> int:
    """Return CPU threads for each process of a trial: as many as leave room for so many trials, at least 1.

    Args:
        nodes: of the cluster.
        trials: at once.
        processes: of a trial.
        gpus: of a trial.

    >>> threads_each([(4, 0), (16, 2)], 2, processes=1, gpus=1), threads_each([(4, 0)], 9, processes=1, gpus=0)
    (8, 1)
    """
    most = int(max((cpus for cpus, _ in nodes), default=1)) // processes
    return max((t for t in range(1, most + 1) if room(nodes, t * processes, gpus) >= trials), default=1)


@dataclass
class _Running:
    task: Task
    spec: Spec
    # its name for its node and for Ray's threads: another one where it is put in the queue anew
    ticket: int
    ref: Any
    needs: Node
    # when the cluster last had a node that is large enough for it
    since: float
    connection: Connection | None = None
    # since when its connection has been at its end, though it has not reported
    lost: float | None = None
    # what Ray says of it: what `relay` returned, or an error
    ended: tuple[Any] | None = None


@dataclass(frozen=True)
class _News:
    kind: Literal["connected", "ended"]
    ticket: int
    what: Any


class RayExecutor:
    """Runs tasks on a Ray cluster, each in a process of its own; a context manager that leaves none behind.

    The cluster is the one this program is connected to already, the one that RAY_ADDRESS names, or else one of this
    machine alone that ends with the executor.

    Args:
        jobs: what will be trained: what their modules import is loaded once on each worker.
        n_jobs: trials at once, which share the CPUs of the cluster; None: as many as `at_once` has room for.
        gpus_per_trial: GPUs of a trial, or the share of one; None: 1 where the cluster has any. Jobs that train on the
            CPU get none, once they have been looked at.
        patience: seconds to wait for a node that is large enough for a task.

    Raises:
        SettingsError: Ray is not installed, or RAY_ADDRESS is of a kind that cannot be used.
        StudyError: the cluster cannot be reached.
    """

    def __init__(
        self,
        jobs: Sequence[JobSpec],
        *,
        n_jobs: int | None = None,
        gpus_per_trial: float | None = None,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self._ray = _installed()
        self._modules = tuple(preload.installed_imports(name for job in jobs for name in job.modules))
        self._n_jobs = n_jobs
        self._gpus_per_trial = gpus_per_trial if gpus_per_trial is not None else 1.0
        self._patience = patience
        # not known before a look at the job, which is at what the cluster has
        self._on_gpu = True if gpus_per_trial is not None else None
        self._connected = _connect(self._ray)
        # by default a worker that has had a GPU is not used again; ours never touches it
        self._relay = self._ray.remote(max_calls=0)(relay)
        self._server = listen(self._ray.util.get_node_ip_address())
        self._authkey = secrets.token_bytes(32)
        self._news: SimpleQueue[_News] = SimpleQueue()
        self._woken, self._wake = Pipe(duplex=False)
        self._running: dict[int, _Running] = {}
        self._ending: list[Any] = []
        self._next_key = 0
        self._next_ticket = 0
        self._looked = 0.0

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End what still runs."""
        for key in list(self._running):
            self.kill(key)
        if self._ending:
            self._ray.wait(self._ending, num_returns=len(self._ending), timeout=_END_SECONDS)
        for opened in (self._server, self._woken, self._wake):
            opened.close()
        if self._connected:
            # ends a cluster that was started for this; leaves another one as it is
            self._ray.shutdown()

    @property
    def keys(self) -> tuple[int, ...]:
        """The tasks that run, or wait in Ray's queue."""
        return tuple(self._running)

    def at_once(self, info: JobInfo) -> int:
        """Return how many trials of a job the whole cluster has room for, with a CPU for each process."""
        nodes = self._nodes()
        return max(1, room(nodes, info.processes, self._gpus(nodes, info.processes)))

    def start(self, task: Task, spec: Spec) -> int:
        """Start a task and return its key; the cluster, not the spec, says how many threads it has."""
        key, self._next_key = self._next_key, self._next_key + 1
        self._running[key] = self._submitted(task, spec, self._nodes())
        return key

    def _submitted(self, task: Task, spec: Spec, nodes: Sequence[Node]) -> _Running:
        one = training_of(spec)
        cpus, gpus = needs = self._needs(one, nodes)
        threads = int(cpus) // one.processes
        payload = pickled(task, placed(spec, threads=threads, job=_portable(one.job)))
        ticket, self._next_ticket = self._next_ticket, self._next_ticket + 1
        # retries are the study's: it has a trial to run again, with its seed
        options = {"num_cpus": cpus, "num_gpus": gpus, "max_retries": 0, "name": f"autowarm {task}"}
        ref = self._relay.options(**options).remote(
            self._server.getsockname()[:2], self._authkey, ticket, payload, self._surroundings(one.processes, threads)
        )
        ref.future().add_done_callback(partial(self._hear_end, ticket))
        return _Running(task, spec, ticket, ref, needs, time.monotonic())

    def events(self, timeout: float) -> Iterator[Event]:
        """Yield what the tasks have told, waiting at most `timeout` seconds for the first word."""
        if not self._running:
            return
        connections = {
            running.connection: key
            for key, running in self._running.items()
            if running.connection is not None and running.lost is None
        }
        for ready in wait([self._server, self._woken, *connections], timeout):
            if ready is self._server:
                accepted, _ = self._server.accept()
                # whoever connects and then says nothing must not hold up the others
                threading.Thread(target=self._greet, args=(accepted,), name="autowarm-greet", daemon=True).start()
            elif ready is self._woken:
                self._woken.recv()
                yield from self._take(self._news.get())
            elif (key := connections[ready]) in self._running:  # type: ignore[index] # wait returns what it was given
                yield from self._read(key)
        yield from self._overdue()

    def answer(self, key: int, reason: str | None) -> None:
        """Let a training that reported a rung go on (None), or end it as pruned for a reason."""
        self._tell(key, ("answer", reason))

    def stop(self, key: int) -> None:
        """Ask a task to end at its next step; it still reports, without an outcome. One that waits is ended at once."""
        if self._running[key].connection is None:
            self._ray.cancel(self._running[key].ref, force=True)
        self._tell(key, ("stop", None))

    def kill(self, key: int) -> None:
        """End a task at once; it reports nothing more."""
        running = self._release(key)
        if running.connection is None:
            self._ray.cancel(running.ref, force=True)

    def inspect(self, spec: TrainingSpec) -> JobInfo:
        """Look at a job on a node, one with a GPU where the cluster has any.

        Raises:
            JobError: the job cannot be built or tuned; says why.
        """
        info = look(self, spec)
        self._on_gpu = info.accelerator != "cpu"
        return info

    def _nodes(self) -> list[Node]:
        alive = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        return [(resources.get("CPU", 0.0), resources.get("GPU", 0.0)) for resources in alive]

    def _gpus(self, nodes: Sequence[Node], processes: int) -> float:
        wanted = self._on_gpu if self._on_gpu is not None else any(gpus for _, gpus in nodes)
        if not wanted:
            return 0.0
        # each process of a training has a device to itself
        return self._gpus_per_trial if processes == 1 else processes * max(1.0, self._gpus_per_trial)

    def _needs(self, spec: TrainingSpec, nodes: Sequence[Node]) -> Node:
        gpus = self._gpus(nodes, spec.processes)
        trials = self._n_jobs or room(nodes, spec.processes, gpus)
        return float(threads_each(nodes, trials, processes=spec.processes, gpus=gpus) * spec.processes), gpus

    def _surroundings(self, processes: int, threads: int) -> Surroundings:
        made = self._ray.get_runtime_context().runtime_env.get("working_dir")
        return Surroundings(
            # the folder that Ray has made for the job is in the path of its workers
            path=() if made else tuple(entry or str(Path.cwd()) for entry in sys.path),
            folder=None if made else str(Path.cwd()),
            modules=self._modules,
            processes=processes,
            threads=threads,
        )

    def _hear_end(self, ticket: int, future: Future[Any]) -> None:
        error = future.exception()
        self._tell_owner(_News("ended", ticket, error if error is not None else future.result()))

    def _greet(self, accepted: socket.socket) -> None:
        connection = welcome(accepted, self._authkey)
        if connection is not None:
            with suppress(EOFError, OSError):
                self._tell_owner(_News("connected", connection.recv(), connection))

    def _tell_owner(self, news: _News) -> None:
        """Hand news from a thread of Ray's, or one of ours, to `events`."""
        self._news.put(news)
        with suppress(OSError):
            self._wake.send(None)

    def _take(self, news: _News) -> Iterator[Event]:
        key = next((key for key, running in self._running.items() if running.ticket == news.ticket), None)
        if key is None:
            # killed before it came, or had ended
            if news.kind == "connected":
                news.what.close()
            self._ending = [ref for ref in self._ending if not self._ray.wait([ref], timeout=0)[0]]
            return
        running = self._running[key]
        if news.kind == "connected":
            running.connection = news.what
            return
        running.ended = (news.what,)
        unheard = running.connection is not None and running.lost is None
        # what it has sent is read first. One that returned has sent all, and the end of its connection is to come
        if not isinstance(news.what, BaseException) and (unheard or running.connection is None):
            return
        if unheard and running.connection is not None and running.connection.poll():
            return
        yield self._died(key)

    def _read(self, key: int) -> Iterator[Event]:
        running = self._running[key]
        assert running.connection is not None  # noqa: S101 - the caller has waited for it
        try:
            event = event_of(key, running.connection.recv())
        except (EOFError, OSError):
            if running.ended is not None:
                yield self._died(key)
            else:
                running.lost = time.monotonic()
            return
        if isinstance(event, Done):
            self._release(key)
        yield event

    def _died(self, key: int) -> Done:
        ended = self._release(key).ended
        if ended is None or ended[0] is None:
            return Done(key, None, "the connection to the training's node was lost", died=True)
        if not isinstance(ended[0], BaseException):
            line, printed = ended[0]
            return Done(key, None, line, printed, died=True)
        error = ended[0]
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [""]
        if isinstance(error, self._ray.exceptions.RayTaskError):
            hint = ": install autowarm on every node" if "No module named 'autowarm" in str(error) else ""
            return Done(key, None, f"the training could not be started on its Ray node: {lines[-1]}{hint}", str(error))
        return Done(key, None, f"the training's Ray worker died: {lines[0]}", str(error), died=True)

    def _overdue(self) -> Iterator[Event]:
        now = time.monotonic()
        for key, running in list(self._running.items()):
            if running.lost is not None and now - running.lost > _LOST_SECONDS:
                self._ray.cancel(running.ref, force=True)
                yield self._died(key)
        if now - self._looked < _LOOK_SECONDS:
            return
        self._looked = now
        waiting = [key for key, running in self._running.items() if running.connection is None]
        nodes = self._nodes() if waiting else []
        for key in waiting:
            running = self._running[key]
            if room(nodes, *running.needs):
                running.since = now
            elif room(nodes, *(needs := self._needs(training_of(running.spec), nodes))):
                # a node has gone, and what is left are smaller ones
                self.kill(key)
                self._running[key] = self._submitted(running.task, running.spec, nodes)
            elif now - running.since > self._patience:
                self.kill(key)
                yield Done(key, None, _no_room(needs, nodes))

    def _tell(self, key: int, message: tuple[str, Any]) -> None:
        # one that has ended cannot hear; the next events() says how it did
        connection = self._running[key].connection
        if connection is not None:
            with suppress(OSError):
                connection.send(message)

    def _release(self, key: int) -> _Running:
        running = self._running.pop(key)
        if running.connection is not None:
            running.connection.close()
        self._ending.append(running.ref)
        return running


def _no_room(needs: Node, nodes: Sequence[Node]) -> str:
    def said(node: Node) -> str:
        return f"{node[0]:g} CPUs and {node[1]:g} GPUs"

    has = "; ".join(said(node) for node in nodes) or "no nodes"
    return (
        f"no node of the Ray cluster has room for a trial, which takes {said(needs)}: it has {has}. "
        "Add a node that is large enough, or ask for less: more n_jobs (fewer CPUs each), or a smaller gpus_per_trial"
    )


def _portable(job: JobSpec) -> JobSpec:
    """Name a job's file from the working folder, which may lie elsewhere on a node."""
    if job.config is None or not job.config.is_relative_to(Path.cwd()):
        return job
    return replace(job, config=job.config.relative_to(Path.cwd()))


def _installed() -> ModuleType:
    try:
        import ray
    except ModuleNotFoundError as e:
        if e.name != "ray":
            raise
        raise SettingsError("trials on Ray need the package ray: pip install 'autowarm[ray]'") from None
    module: ModuleType = ray
    return module


def _connect(ray: ModuleType) -> bool:
    """Connect to a cluster; tells whether this program had no connection before."""
    address = os.environ.get("RAY_ADDRESS")
    if ray.util.client.ray.is_connected() or (address or "").startswith("ray://"):
        raise SettingsError(
            "trials cannot be run through a Ray client (ray://), which nodes cannot call back: run autowarm on a node "
            "of the cluster, by `ray job submit --working-dir . -- autowarm tune ...`"
        )
    if ray.is_initialized():
        return False
    # nobody has been asked whether this may be told
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    given: Mapping[str, Any] = {"address": address}
    if address is None:
        given = {
            "address": "local",
            "num_cpus": cores(),
            "include_dashboard": False,
            "object_store_memory": _STORE_BYTES,
        }
    try:
        with _signals_kept():
            # a live display owns the terminal
            ray.init(**given, log_to_driver=False, logging_level="error")
    except (ConnectionError, RuntimeError, ValueError) as e:
        where = f"at RAY_ADDRESS={address}" if address is not None else "on this machine"
        raise StudyError(
            f"Ray cannot be used {where}: {e}. Start a cluster with `ray start --head`, or unset RAY_ADDRESS to run on "
            "this machine alone; a cluster that has a token wants RAY_AUTH_MODE=token here, too"
        ) from None
    return True


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Put the handler of SIGTERM back, which Ray takes: what it means, the owner decides."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
