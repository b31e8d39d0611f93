"""Fetching a stock Debian kernel, its debug symbols, headers and source, through apt into the cache folder.

    <cache>/debs/                  what apt downloads; removed once unpacked
    <cache>/RELEASE/root/          the packages' files, unpacked as an ordinary user can: nothing is installed
    <cache>/RELEASE/manifest.json  written last: without it the release counts as not there
    <cache>/lock                   held while fetching, so that two programs do not fetch the same

Once a version is here it is used as it is: a later start asks neither apt nor the network.
"""

from __future__ import annotations

import fcntl
import os
import platform
import re
import shutil
import subprocess
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

from ktcpdump_tui.errors import UserError
from ktcpdump_tui.lab import apt, stock
from ktcpdump_tui.lab.requirements import find_depmod

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ktcpdump_tui.lab.progress import Progress
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
            release, wanted_packages = find_release(wanted, children, folder)
            if stock.is_complete(folder / release):
                return stock.StockKernel(release, folder / release / "root")
            check_space(folder, wanted_packages)
            return unpack_release(folder, release, wanted_packages, children, progress)
        except BaseException:
            children.stop()
            raise


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


def find_release(version: str, children: apt.Children, folder: Path) -> tuple[str, list[apt.Package]]:
    """Return the newest release of ``version`` of which apt has every part, and those packages."""
    releases = known_releases()
    if not releases and os.geteuid() == 0:
        apt.update(children, folder)
        releases = known_releases()
    system = platform.freedesktop_os_release().get("PRETTY_NAME", "this system")
    if not releases:
        if not apt.names("bash"):
            raise UserError("apt's package lists are empty.", apt.update_command())
        raise UserError(
            f"The package sources of {system} have no Debian cloud kernel, which the lab boots.",
            "Use --lab on Debian 12 or 13 (amd64).",
        )
    matching = [release for release in releases if stock.StockKernel(release, folder).version == version]
    for release in matching:
        found = release_packages(release, version)
        if found:
            return release, found
    versions = sorted(
        {stock.StockKernel(release, folder).version for release in releases}, key=stock.natural_key
    )
    if matching:
        raise UserError(
            f"apt has kernel {matching[0]} but not its debug symbols, headers or source of the same version.",
            apt.update_command(),
        )
    raise UserError(
        f"The package sources of {system} have no kernel {version}.",
        f"Take one that they have: {', '.join(f'--lab={item}' for item in versions)}.",
    )


def known_releases() -> list[str]:
    """Return the releases of the cloud kernels that apt knows, newest first."""
    pattern = re.compile(r"linux-image-(\d+\.\d+\..*cloud-amd64)")
    matches = (pattern.fullmatch(name) for name in apt.names("linux-image-"))
    return sorted((match[1] for match in matches if match), key=stock.natural_key, reverse=True)


def release_packages(release: str, version: str) -> list[apt.Package] | None:
    """Return image, symbols, headers (with what they link to) and source of ``release``.

    All are of one version, or lines and symbols would not be those of the image; None if one is missing.
    """
    image_name = f"linux-image-{release}"
    image = apt.candidate(image_name)
    if image is None:
        return None
    exact = image.version
    asked = [f"{image_name}-dbg", f"linux-headers-{release}", f"linux-source-{version}"]
    found = apt.show(f"{name}={exact}" for name in asked)
    if len(found) < len(asked):
        return None
    links = [
        name for name in found[asked[1]].depends if re.fullmatch(r"linux-(headers-.*-common|kbuild-.*)", name)
    ]
    linked = apt.show(links)
    if len(linked) < len(links):
        return None
    packages = [image, *found.values(), *linked.values()]
    return sorted(packages, key=lambda package: package.installed_size, reverse=True)


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


def unpack_release(
    folder: Path, release: str, packages: list[apt.Package], children: apt.Children, progress: Progress | None
) -> StockKernel:
    """Download and unpack ``packages``, several at a time, and put the result in place."""
    target = folder / release
    partial = target / "root.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    if progress:
        size = sum(package.size for package in packages)
        progress.say(f"fetching Debian's kernel {release} with symbols and source ({size / 1e6:.0f} MB)")
    with progress.bars() if progress else nullcontext(lambda *_: None) as put:

        def bring(package: apt.Package) -> None:
            doing = f"{package.size / 1e6:.0f} MB"
            put(package.name, 0.0, doing)
            file = apt.download(
                package, folder / "debs", children, lambda percent: put(package.name, percent, doing)
            )
            put(package.name, None, "unpacking")
            apt.unpack(file, partial, children)
            put(package.name, 100.0, "ready")

        in_parallel(bring, packages, children)
    finish_tree(partial, release)
    root = target / "root"
    if root.exists():  # left by a fetch that did not end
        shutil.rmtree(root)
    partial.rename(root)
    stock.write_manifest(target, release, {package.name: package.version for package in packages})
    for package in packages:
        (folder / "debs" / package.file_name).unlink(missing_ok=True)
    return stock.StockKernel(release, root)


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
