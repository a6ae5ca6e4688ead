"""The machine, mounts, caches and repeated figures that every measurement needs."""

import contextlib
import json
import os
import pathlib
import platform
import statistics
import subprocess
import time


class Tools:
    """Where the programs are, and a folder for data."""

    def __init__(self, build: pathlib.Path, work: pathlib.Path):
        self.weightfs = build / "cli" / "weightfs"
        self.null_server = build / "bench" / "null_server" / "weightfs_null_server"
        self.reader = build / "bench" / "reader" / "weightfs_read_bench"
        self.work = work

    @contextlib.contextmanager
    def mount(self, source, *options):
        """Mounts `source`; yields the mountpoint, with the seconds that mounting took as its second item."""
        with self.mountpoint() as mountpoint:
            start = time.monotonic()
            subprocess.run([self.weightfs, "mount", source, mountpoint, *options], check=True,
                           stderr=subprocess.DEVNULL)
            seconds = time.monotonic() - start
            try:
                yield mountpoint, seconds
            finally:
                subprocess.run([self.weightfs, "umount", mountpoint], check=True)

    @contextlib.contextmanager
    def null_mount(self, size_bytes):
        with self.mountpoint() as mountpoint:
            server = subprocess.Popen([self.null_server, mountpoint, str(size_bytes)])
            wait_for(lambda: os.path.ismount(mountpoint))
            try:
                yield next(mountpoint.iterdir())
            finally:
                server.terminate()
                server.wait()

    @contextlib.contextmanager
    def passthrough_mount(self, folder):
        """libfuse's own example server over `folder`, built from the sources that the libfuse3 package ships."""
        example = pathlib.Path("/usr/share/doc/libfuse3-dev/examples/passthrough_ll.c")
        program = self.work / "passthrough_ll"
        if not program.exists():
            flags = subprocess.run(["pkg-config", "--cflags", "--libs", "fuse3"], check=True, capture_output=True,
                                   text=True).stdout.split()
            subprocess.run(["cc", "-O2", "-w", "-D_GNU_SOURCE", "-DHAVE_STRUCT_STAT_ST_ATIM", example, "-o", program,
                            *flags], check=True)
        with self.mountpoint() as mountpoint:
            server = subprocess.Popen([program, "-f", "-o", f"source={folder},cache=always", mountpoint],
                                      stderr=subprocess.DEVNULL)
            wait_for(lambda: os.path.ismount(mountpoint))
            set_read_ahead(mountpoint, 4096)
            try:
                yield mountpoint
            finally:
                server.terminate()
                server.wait()

    @contextlib.contextmanager
    def mountpoint(self):
        path = self.work / f"mountpoint-{os.getpid()}-{time.monotonic_ns()}"
        path.mkdir()
        try:
            yield path
        finally:
            path.rmdir()

    def read(self, mode, path, *arguments):
        """Gigabytes per second of one pass of the reader."""
        output = subprocess.run([self.reader, mode, path, *arguments], check=True, capture_output=True, text=True)
        return json.loads(output.stdout)["gigabytes_per_second"]


def wait_for(condition, seconds=10):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("a server did not mount in time")
        time.sleep(0.01)


def set_read_ahead(mountpoint, kib):
    device = os.stat(mountpoint).st_dev
    with contextlib.suppress(OSError):
        pathlib.Path(f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb").write_text(str(kib))


def drop_caches():
    """Empties the page cache: what follows is cold."""
    os.sync()
    pathlib.Path("/proc/sys/vm/drop_caches").write_text("3")


def warm(path):
    """Puts a file into the page cache."""
    with open(path, "rb", buffering=0) as file:
        buffer = bytearray(1 << 20)
        while file.readinto(buffer):
            pass


def interleave(rounds, cases):
    """Runs every case once per round, in turn: {name: callable} to {name: [figures]}."""
    figures = {name: [] for name in cases}
    for round_number in range(rounds):
        names = list(cases)
        if round_number % 2:
            names.reverse()
        for name in names:
            figures[name].append(cases[name]())
    return figures


def median(values):
    return statistics.median(values)


def ratios(figures, name, base):
    """Median, minimum and maximum of name / base, pair by pair."""
    pairs = [a / b for a, b in zip(figures[name], figures[base])]
    return statistics.median(pairs), min(pairs), max(pairs)


def rss_bytes(pid, field="VmRSS"):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"no {field} for {pid}")


def daemon_pid(mountpoint):
    return json.loads((mountpoint / ".weightfs" / "status.json").read_text())["pid"]


def peak_rss_bytes(pid):
    return rss_bytes(pid, "VmHWM")


def describe():
    """What the figures were measured on."""
    model = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    memory = next(int(line.split()[1]) // 1024 // 1024 for line in open("/proc/meminfo") if line.startswith("MemTotal"))
    return f"{os.cpu_count()} cores of {model}, {memory} GiB, Linux {platform.release()}"
