"""Runs `weightfs`, and mounts with an unmount that always happens."""

import contextlib
import json
import os
import re
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

TIMEOUT_SECONDS = 60


def default_binary() -> Path:
    build = Path(__file__).resolve().parents[2] / "build" / "dev"
    return Path(os.environ.get("WEIGHTFS_BIN") or build / "cli" / "weightfs")


def is_mountpoint(path: Path) -> bool:
    """As the kernel's table says: a dead mount counts, and nothing is asked of the mount itself."""
    wanted = os.path.abspath(path)
    with open("/proc/self/mountinfo", encoding="utf-8") as table:
        points = (line.split()[4] for line in table)
        # Spaces, tabs, newlines and backslashes are written in octal, other bytes as they are.
        return any(re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), point) == wanted for point in points)


def wait_until(condition, seconds: float = 10, what: str = "the condition"):
    """Waits for a true value of `condition()` and returns it."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"{what} did not come true within {seconds} s")
        time.sleep(0.02)
    return value


def force_unmount(path: Path) -> None:
    while is_mountpoint(path):
        subprocess.run(["umount", "--lazy", path], check=True, timeout=TIMEOUT_SECONDS, capture_output=True)


@contextlib.contextmanager
def private_devices(with_fuse: bool = True) -> Iterator[tuple[Path, list[str]]]:
    """A folder of device nodes of our own, and the prefix of a command that has it as /dev in a mount namespace of its
    own: every user may open /dev/fuse there, whatever this machine's mode is, or there is none."""
    nodes = [("null", 1, 3), ("zero", 1, 5), ("urandom", 1, 9)] + ([("fuse", 10, 229)] if with_fuse else [])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        for node, major, minor in nodes:
            os.mknod(folder / node, stat.S_IFCHR, os.makedev(major, minor))
            (folder / node).chmod(0o666)
        (folder / "fd").symlink_to("/proc/self/fd")
        # In a chroot whose root is no mountpoint, only /dev itself can be cut off from the other namespaces.
        script = f"""
            mount --make-rprivate / 2>/dev/null || mount --make-private /dev || exit 99
            mount --bind {folder} /dev && exec "$@"
        """
        yield folder, ["unshare", "--mount", "--propagation", "unchanged", "sh", "-c", script, "sh"]


class Weightfs:
    """The program under test."""

    def __init__(self, binary: Path):
        self.binary = binary

    def __call__(self, *arguments, status: int | None = 0, **options) -> subprocess.CompletedProcess:
        """Runs one command to its end. `status` is the expected exit status; None takes any."""
        options = {"timeout": TIMEOUT_SECONDS, "capture_output": True, "text": True, "errors": "replace",
                   "stdin": subprocess.DEVNULL} | options
        done = subprocess.run([self.binary, *map(str, arguments)], **options)
        if status is not None:
            assert done.returncode == status, (
                f"weightfs {' '.join(map(str, arguments))}: exit {done.returncode}, expected {status}\n"
                f"{done.stdout}\n{done.stderr}")
        return done

    def json(self, *arguments, status: int | None = 0):
        return json.loads(self(*arguments, status=status).stdout)

    @contextlib.contextmanager
    def mount(self, source: Path, mountpoint: Path, *options) -> Iterator[Path]:
        """`weightfs mount`, as a daemon. Unmounted on every exit, by the program itself when all went well."""
        mountpoint.mkdir(parents=True, exist_ok=True)
        self("mount", source, mountpoint, *options)
        try:
            assert is_mountpoint(mountpoint)
            yield mountpoint
            self("umount", mountpoint)
            assert not is_mountpoint(mountpoint)
        finally:
            force_unmount(mountpoint)

    @contextlib.contextmanager
    def mount_in_front(self, source: Path, mountpoint: Path, *options, **popen) -> Iterator[subprocess.Popen]:
        """`weightfs mount -f`: the daemon is our child. What remains of it and of the mount is cleared."""
        mountpoint.mkdir(parents=True, exist_ok=True)
        with subprocess.Popen([self.binary, "mount", "-f", source, mountpoint, *map(str, options)],
                              stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, **popen) as daemon:
            try:
                wait_until(lambda: is_mountpoint(mountpoint) or daemon.poll() is not None, what="the mount")
                assert daemon.poll() is None, daemon.stderr.read()
                os.stat(mountpoint)
                yield daemon
            finally:
                if daemon.poll() is None:
                    daemon.send_signal(signal.SIGCONT)
                    daemon.terminate()
                try:
                    daemon.wait(timeout=10)
                except subprocess.TimeoutExpired:
                    daemon.kill()
                force_unmount(mountpoint)

    def daemon_pid(self, mountpoint: Path) -> int:
        """The process that serves `mountpoint`, found by its command line."""
        wanted = os.fsencode(os.path.abspath(mountpoint))
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (folder / "cmdline").read_bytes().split(b"\0")
                if any(os.path.abspath(word) == wanted for word in words[1:]) and b"weightfs" in words[0]:
                    return int(folder.name)
        raise LookupError(f"no process serves {mountpoint}")
