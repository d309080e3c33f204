"""How much memory do a process and all that it started take? Read from /proc, by role.

Used by `python benchmarks/distributed_scale.py`. PSS: what is shared is counted once, by shares.
"""

from collections.abc import Iterator
from pathlib import Path

_JUDGING_WORKER = "ray::MapWorker"  # how Ray titles the processes of its actors


def descendants(pid: int) -> list[int]:
    """The process and all below it."""
    children: dict[int, list[int]] = {}
    for process, parent in _parents():
        children.setdefault(parent, []).append(process)
    found, waiting = [], [pid]
    while waiting:
        found.append(waiting.pop())
        waiting += children.get(found[-1], [])
    return found


def judging_workers(pid: int) -> list[int]:
    """The processes below `pid` that judge."""
    return [process for process in descendants(pid) if _title(process).startswith(_JUDGING_WORKER)]


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that ended and was not waited for yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def memory_by_role(pid: int) -> dict[str, float]:
    """MiB of PSS: of the driver, of the largest judging worker, of all processes together."""
    worker = max((_pss_mib(process) for process in judging_workers(pid)), default=0.0)
    everything = sum(_pss_mib(process) for process in descendants(pid))
    return {"driver": _pss_mib(pid), "a worker": worker, "all of Ray and the driver": everything}


def _parents() -> Iterator[tuple[int, int]]:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text()
        except OSError:  # it is gone
            continue
        yield int(folder.name), int(stat.rpartition(")")[2].split()[1])


def _title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def _pss_mib(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
