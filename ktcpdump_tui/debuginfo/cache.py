"""Results that took decoding, kept on disk under the XDG cache.

Files are keyed by build-id, so they never go stale, and by FORMAT, which is raised when their contents change
meaning. Each begins with a CRC-32 of the rest: one that is damaged or cut off is as good as none. They are
written beside and renamed, so that several processes may share the folder. All together take at most
``limit`` bytes; those used longest ago go first.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import zlib
from pathlib import Path
from typing import Final

#: The version of what is stored.
FORMAT: Final = 2
#: Bytes of all files together: some 10,000 functions.
LIMIT: Final = 128 << 20
#: Bytes written before the folder's size is looked at again.
_BETWEEN_TRIMS: Final = 4 << 20


def cache_folder() -> Path:
    """Return our folder under the XDG cache (XDG Base Directory Specification)."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "ktcpdump-tui" / "debuginfo"


class DiskCache:
    """A store of bytes by (build-id, name). Where the folder cannot be written it remembers nothing."""

    def __init__(self, folder: Path | None = None, limit: int = LIMIT) -> None:
        self.folder = folder or cache_folder()
        self.limit = limit
        self._unchecked = _BETWEEN_TRIMS  # the first write looks

    def get(self, build_id: str, name: str) -> bytes | None:
        """Return what was put, None where there is nothing or it is damaged."""
        path = self._path(build_id, name)
        try:
            data = path.read_bytes()
        except OSError:
            return None
        body = data[4:]
        if len(data) < 4 or zlib.crc32(body) != int.from_bytes(data[:4], "little"):
            return None
        with contextlib.suppress(OSError):  # a read-only cache is still of use
            os.utime(path)
        try:
            return zlib.decompress(body)
        except zlib.error:
            return None

    def put(self, build_id: str, name: str, data: bytes) -> None:
        """Keep ``data``; does nothing where the folder cannot be written."""
        body = zlib.compress(data, 1)
        path = self._path(build_id, name)
        with contextlib.suppress(OSError):  # full or read-only: the work is done again next time
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".new-{os.getpid()}-{threading.get_ident()}")
            try:
                temporary.write_bytes(zlib.crc32(body).to_bytes(4, "little") + body)
                temporary.replace(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
            self._unchecked += len(body)
            if self._unchecked >= min(_BETWEEN_TRIMS, self.limit // 4):
                self._unchecked = 0
                self.trim()

    def trim(self) -> None:
        """Delete the files used longest ago until all together are within the limit."""
        files = []
        for folder, _, names in os.walk(self.folder):
            for name in names:
                path = Path(folder) / name
                with contextlib.suppress(OSError):  # another process may have deleted it
                    status = path.stat()
                    files.append((status.st_mtime, status.st_size, path))
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= self.limit:
                return
            with contextlib.suppress(OSError):
                path.unlink()
            total -= size

    def _path(self, build_id: str, name: str) -> Path:
        safe = re.sub(r"[^\w.+-]", "_", name)
        return self.folder / f"v{FORMAT}" / re.sub(r"\W", "_", build_id) / safe
