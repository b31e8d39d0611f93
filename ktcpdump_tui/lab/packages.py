"""Fetching a stock Debian kernel, its debug symbols, headers and source, through apt into the cache folder.

    <cache>/debs/                  what apt downloads; removed once unpacked
    <cache>/RELEASE/root/          the packages' files, unpacked as an ordinary user can: nothing is installed
    <cache>/RELEASE/manifest.json  written last: without it the release counts as not there
    <cache>/lock                   held while fetching, so that two programs do not fetch the same

Once a version is here it is used as it is: a later start asks neither apt nor the network.
"""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

from ktcpdump_tui.errors import UserError
from ktcpdump_tui.lab import apt, releases, stock
from ktcpdump_tui.lab.requirements import find_depmod

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ktcpdump_tui.lab.progress import Progress
    from ktcpdump_tui.lab.releases import Release
    from ktcpdump_tui.lab.stock import StockKernel

#: How many packages are downloaded or unpacked at once: unpacking one (xz) keeps one core busy.
WORKERS = 3
#: File systems need more than the sum of the files' sizes.
SPACE_FACTOR = 1.1


def fetch(
    version: str | None = None, progress: Progress | None = None, *, newest: bool = False
) -> StockKernel:
    """Return the stock kernel of ``version`` (None: the default), fetched first if it is not in the cache.

    ``newest`` fetches the release that apt has now even if an older one is here. UserError: apt does not
    have that version (those it has are named), a download fails, or the disk is too small.
    """
    if version is not None:
        stock.check_version(version)
    wanted = version or stock.VERSIONS[0]
    if not newest and (kernel := stock.cached_kernel(wanted)):
        return kernel
    folder = stock.cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "debs").mkdir(exist_ok=True)
    except OSError as error:
        raise UserError(
            f"The lab cannot keep its kernels in {folder}: {error.strerror}.",
            "Set XDG_CACHE_HOME to a folder you can write to.",
        ) from error
    with locked(folder / "lock", progress):
        if not newest and (kernel := stock.cached_kernel(wanted)):
            return kernel  # another program fetched it meanwhile
        children = apt.Children()
        try:
            found = releases.find(wanted, children, folder, progress)
            if stock.is_complete(folder / found.name):
                return stock.StockKernel(found.name, folder / found.name / "root")
            check_space(folder, found.packages)
            return unpack_release(folder, found, progress)
        except BaseException:
            children.stop()
            raise
        finally:
            shutil.rmtree(folder / releases.LISTS, ignore_errors=True)


@contextmanager
def locked(path: Path, progress: Progress | None) -> Iterator[None]:
    """Hold the lock on the cache; says so if another program holds it."""
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if progress:
                progress.say("another program is fetching a kernel; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def check_space(folder: Path, packages: list[apt.Package]) -> None:
    """Raise UserError unless the disk of ``folder`` has room for ``packages`` and their files."""
    needed = sum(package.installed_size for package in packages) * SPACE_FACTOR
    needed += sum(package.size for package in packages if not (folder / "debs" / package.file_name).exists())
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"The kernel, its symbols and source need {needed / 1e9:.1f} GB in {folder},"
            f" where {free / 1e9:.1f} GB are free.",
            "Make room there, or set XDG_CACHE_HOME to a folder on a larger disk.",
        )


def unpack_release(folder: Path, release: Release, progress: Progress | None) -> StockKernel:
    """Download and unpack the packages of ``release``, several at a time, and put the result in place."""
    target = folder / release.name
    partial = target / "root.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    if progress:
        size = sum(package.size for package in release.packages)
        progress.say(f"fetching Debian's kernel {release.name} with symbols and source ({size / 1e6:.0f} MB)")
    with progress.bars() if progress else nullcontext(lambda *_: None) as put:

        def bring(package: apt.Package) -> None:
            def loaded(percent: float) -> None:
                put(package.name, percent, f"{package.size / 1e6:.0f} MB")

            loaded(0.0)
            file = release.source.download(package, folder / "debs", loaded)

            put(package.name, None, "unpacking")
            apt.unpack(file, partial, release.source.children)
            put(package.name, 100.0, "ready")

        in_parallel(bring, release.packages, release.source.children)
    finish_tree(partial, release.name)
    root = target / "root"
    if root.exists():  # left by a fetch that did not end
        shutil.rmtree(root)
    partial.rename(root)
    versions = {package.name: package.version for package in release.packages}
    stock.write_manifest(target, release.name, versions)
    for package in release.packages:
        (folder / "debs" / package.file_name).unlink(missing_ok=True)
    return stock.StockKernel(release.name, root)


def in_parallel(
    work: Callable[[apt.Package], None], packages: list[apt.Package], children: apt.Children
) -> None:
    """Call ``work`` on each package, WORKERS at a time; the first failure stops the others and is raised."""
    with ThreadPoolExecutor(WORKERS, thread_name_prefix="lab-fetch") as pool:
        jobs = [pool.submit(work, package) for package in packages]
        try:
            done, _ = wait(jobs, return_when=FIRST_EXCEPTION)
            failed = next((error for job in done if (error := job.exception())), None)
            if failed:
                raise failed
        except BaseException:
            for job in jobs:
                job.cancel()
            children.stop()
            raise


def finish_tree(root: Path, release: str) -> None:
    """Do what the packages' scripts would do: the index of modules (depmod), /lib where it is a link."""
    if not (root / "lib").exists():  # Debian 13 packs modules below /usr/lib
        (root / "lib").symlink_to("usr/lib")
    depmod = find_depmod()
    if depmod is None:
        raise UserError("depmod is missing.", "apt-get install kmod")
    done = subprocess.run([depmod, "-b", root, release], capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"depmod failed on kernel {release}: {done.stderr.strip()}")
