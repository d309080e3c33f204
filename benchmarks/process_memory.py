"""How much memory do a process and all that it started take, by role?

Used by `python benchmarks/distributed_scale.py`. PSS: what is shared is counted once, by shares.
"""

import psutil

_JUDGING_WORKER = "ray::MapWorker"  # how Ray titles the processes of its actors


def judging_workers(pid: int) -> list[int]:
    """The processes below `pid` that judge."""
    return [process.pid for process in _family(pid) if _title(process).startswith(_JUDGING_WORKER)]


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that ended and was not waited for yet does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def memory_by_role(pid: int) -> dict[str, float]:
    """MiB of PSS: of the driver, of the largest judging worker, of all processes together."""
    family = _family(pid)
    pss = {process.pid: _pss_mib(process) for process in family}
    workers = [pss[p.pid] for p in family if _title(p).startswith(_JUDGING_WORKER)]
    return {
        "driver": pss.get(pid, 0.0),
        "a worker": max(workers, default=0.0),
        "all of Ray and the driver": sum(pss.values()),
    }


def _family(pid: int) -> list[psutil.Process]:
    """The process and all below it."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:  # it is gone, or another user's
        return ""


def _pss_mib(process: psutil.Process) -> float:
    try:
        return float(process.memory_full_info().pss) / 2**20
    except psutil.Error:
        return 0.0
