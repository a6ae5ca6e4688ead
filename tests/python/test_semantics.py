"""docs/semantics.md, line by line: each test is named after the line that it shows."""

import hashlib
import json
import mmap
import os
import pwd
import resource
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

import checkpoints
import oracle
import repositories
from mounting import is_mountpoint, private_devices, wait_until
from reading import drop_cached, pread_exactly, resident_bytes

MIB = 1 << 20


def big_model(path: Path, mebibytes: int = 64, dtype: torch.dtype = torch.float16) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    count = mebibytes // 4
    elements = 4 * MIB // torch.empty(0, dtype=dtype).element_size()
    tensors = {f"layers.{i:03d}.weight": torch.randn(elements // 1024, 1024, generator=generator).to(dtype)
               for i in range(count)}
    torch.save(tensors, path)
    os.sync()
    return tensors


def snapshot(folder: Path) -> dict[str, tuple]:
    found = {}
    for path in [folder, *folder.rglob("*")]:
        info = path.lstat()
        found[str(path.relative_to(folder))] = (info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_mode,
                                                info.st_nlink, info.st_uid)
    return found


# 1: read-only and static -----------------------------------------------------------------------------------------------


def test_1_01_tree_is_static(source, mount):
    repositories.make_pipeline(source / "pipeline")
    with mount(source / "pipeline") as mounted:
        first = snapshot(mounted)
        time.sleep(0.05)
        (source / "pipeline" / "new_file.txt").write_text("later")
        assert snapshot(mounted) == first
        assert not (mounted / "new_file.txt").exists()
    with mount(source / "pipeline") as mounted:
        again = snapshot(mounted)
        assert "new_file.txt" in again
        assert {name: again[name][1:3] for name in first if name not in (".",)} == {
            name: first[name][1:3] for name in first if name not in (".",)}


def test_1_01_tree_is_read_only(source, mount):
    repositories.make_repository(source)
    with mount(source) as mounted:
        file = mounted / "model.safetensors"
        attempts = {
            "write": lambda: os.open(file, os.O_WRONLY),
            "read and write": lambda: os.open(file, os.O_RDWR),
            "create": lambda: (mounted / "new").write_text("x"),
            "unlink": lambda: file.unlink(),
            "mkdir": lambda: (mounted / "folder").mkdir(),
            "rename": lambda: file.rename(mounted / "other"),
            "chmod": lambda: file.chmod(0o600),
            "truncate": lambda: os.truncate(file, 0),
            "symlink": lambda: (mounted / "link").symlink_to("x"),
        }
        for what, attempt in attempts.items():
            with pytest.raises(OSError) as caught:
                attempt()
            assert caught.value.errno in (30, 1, 13), what  # EROFS, EPERM, EACCES
        mode = file.stat().st_mode
        assert stat.S_ISREG(mode) and mode & 0o222 == 0
        assert mounted.stat().st_mode & 0o222 == 0


def test_1_01_attributes_are_those_that_tools_expect(source, mount):
    repositories.make_repository(source)
    with mount(source) as mounted:
        info = (mounted / "model.safetensors").stat()
        assert info.st_uid == os.getuid() and info.st_nlink == 1
        assert info.st_blocks * 512 >= info.st_size > 0
        assert info.st_mtime_ns == (source / "pytorch_model.bin").stat().st_mtime_ns
        assert len({path.stat().st_ino for path in mounted.iterdir()}) == len(os.listdir(mounted))
        assert os.statvfs(mounted).f_bsize > 0


def test_1_01_hidden_folder_is_there_when_asked_for(source, mount):
    repositories.make_repository(source)
    with mount(source) as mounted:
        assert ".weightfs" not in os.listdir(mounted)
        assert sorted(os.listdir(mounted / ".weightfs")) == ["manifest.json", "status.json", "tensors"]


def test_1_01_new_step_appears_once_it_is_whole(source, tmp_path, mount):
    repositories.make_repository(source / "checkpoint-1")
    repositories.make_repository(tmp_path / "later", "llama")
    time.sleep(1.2)
    with mount(source) as mounted:
        assert os.listdir(mounted) == ["checkpoint-1"]
        first = snapshot(mounted / "checkpoint-1")
        weights = (tmp_path / "later" / "pytorch_model.bin").read_bytes()
        (tmp_path / "later" / "pytorch_model.bin").write_bytes(weights[: len(weights) // 2])
        shutil.copytree(tmp_path / "later", source / "checkpoint-2")
        time.sleep(1.5)
        assert os.listdir(mounted) == ["checkpoint-1"], "an unfinished step was listed"
        (source / "checkpoint-2" / "pytorch_model.bin").write_bytes(weights)
        wait_until(lambda: sorted(os.listdir(mounted)) == ["checkpoint-1", "checkpoint-2"], 10, "the new step")
        state = torch.load(source / "checkpoint-2" / "pytorch_model.bin", weights_only=True)
        assert (mounted / "checkpoint-2" / "model.safetensors").read_bytes() == oracle.safetensors_bytes(state)
        assert snapshot(mounted / "checkpoint-1") == first


# 2 and 3: every byte, or an errno --------------------------------------------------------------------------------------


def test_1_02_reads_are_never_short(source, mount):
    tensors = big_model(source / "m.pt", 16)
    expected = oracle.safetensors_bytes(oracle.cast(tensors, "f32"))
    with mount(source / "m.pt", "--dtype", "f32") as mounted:
        fd = os.open(mounted / "model.safetensors", os.O_RDONLY)
        try:
            for size in (1, 4095, 1 * MIB, 7 * MIB + 13, len(expected) + 100):
                drop_cached(fd)
                for offset in range(0, len(expected), max(size, len(expected) // 5)):
                    assert pread_exactly(fd, size, offset) == expected[offset:offset + size]
            assert os.pread(fd, 100, len(expected)) == b""
            assert os.pread(fd, 100, len(expected) + 10 * MIB) == b""
        finally:
            os.close(fd)


def test_1_03_aliases_keep_their_names_and_are_counted(source, weightfs, mount):
    repositories.make_repository(source, "t5")
    state = torch.load(source / "pytorch_model.bin", weights_only=True)
    tied = [name for name in state if state[name].data_ptr() == state["shared.weight"].data_ptr()]
    assert len(tied) == 4
    with mount(source) as mounted, safe_open(mounted / "model.safetensors", "pt") as file:
        assert set(file.keys()) == set(state)
    report = weightfs.json("inspect", "--json", source)
    assert sum(weight_set["alias_bytes"] for weight_set in report["sets"]) == 3 * state["shared.weight"].numel() * 4
    assert sum(tensor["alias"] for tensor in report["tensors"]) == 3


# 4 and 5: whole, and accounted for -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["zip", "legacy"])
def test_1_04_mount_succeeds_only_when_every_byte_is_there(kind, source, mountpoint, weightfs):
    """The file is cut after every 1/16 of it: never served, always refused by name."""
    whole = source / "whole.pt"
    torch.save(checkpoints.model_tensors(), whole, _use_new_zipfile_serialization=kind == "zip")
    data = whole.read_bytes()
    for part in range(16):
        cut = source / "cut.pt"
        cut.write_bytes(data[: len(data) * part // 16])
        assert "cut.pt" in weightfs("inspect", cut, status=3).stderr
    assert "cut.pt" in weightfs("mount", cut, mountpoint, status=3).stderr
    assert not is_mountpoint(mountpoint)


def test_1_05_everything_is_served_or_listed_as_dropped(source, weightfs, mount):
    path, tensors = checkpoints.CASES["training_checkpoint"].write(source)
    with mount(path, "--exclude", "norm") as mounted:
        manifest = json.loads((mounted / ".weightfs" / "manifest.json").read_text())
    served = {tensor["name"] for tensor in manifest["tensors"]}
    dropped = {tensor["name"]: tensor["rule"] for tensor in manifest["dropped"]}
    assert served | set(dropped) == set(tensors)
    assert not served & set(dropped)
    assert all("norm" in name and "--exclude" in rule for name, rule in dropped.items())
    left_out = " ".join(item["path"] for item in manifest["sets"][0]["left_out"])
    for key in ("optimizer", "epoch", "args", "rng"):
        assert key in left_out, left_out


# 6 and 7: nothing but the source ---------------------------------------------------------------------------------------


def test_1_06_no_network_and_no_file_outside_the_source(source, tmp_path, weightfs):
    """Traced: every file that inspect opens lies in the source or belongs to the system; no socket is made."""
    repositories.make_repository(source / "repo", "llama", parts=2)
    (source / "beside.txt").write_text("not part of it")
    trace = tmp_path / "trace"
    subprocess.run(["strace", "-f", "-e", "trace=open,openat,openat2,socket,connect,execve", "-o", trace,
                    weightfs.binary, "inspect", source / "repo"], check=True, capture_output=True, timeout=60)
    lines = trace.read_text().splitlines()
    assert not [line for line in lines if "socket(" in line or "connect(" in line]
    assert sum("execve(" in line for line in lines) == 1
    opened = {line.split('"')[1] for line in lines if "open" in line and '"' in line and " = -1 " not in line}
    absolute = {path for path in opened if path.startswith("/")}
    system = ("/etc/", "/lib", "/usr/", "/proc/", "/sys/", "/dev/")
    strangers = {path for path in absolute if not path.startswith((*system, str(source / "repo")))}
    assert not {path for path in strangers if not str(source / "repo").startswith(path)}, strangers
    assert any("pytorch_model-00001" in path for path in opened)


def as_user(uid: int, *command, **options) -> subprocess.CompletedProcess:
    return subprocess.run(["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--inh-caps=-all", *command],
                          capture_output=True, text=True, timeout=60, **options)


OTHER_USER = pwd.getpwnam("nobody").pw_uid


@pytest.fixture
def open_folder():
    """A folder with a source and a mountpoint that every user can reach."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "source").mkdir()
        (folder / "mnt").mkdir()
        yield folder


def test_1_07_only_the_mounting_user_sees_it(open_folder, weightfs):
    repositories.make_repository(open_folder / "source")
    with weightfs.mount(open_folder / "source", open_folder / "mnt") as mounted:
        denied = as_user(OTHER_USER, "ls", mounted)
        assert denied.returncode != 0 and "denied" in denied.stderr


def test_1_07_allow_other_is_explicit(open_folder, weightfs):
    repositories.make_repository(open_folder / "source")
    with weightfs.mount(open_folder / "source", open_folder / "mnt", "--allow-other") as mounted:
        read = as_user(OTHER_USER, "cat", mounted / "config.json")
        assert read.returncode == 0 and read.stdout == (open_folder / "source" / "config.json").read_text()


USER_SCRIPT = """
set -e
"$1" mount "$2" "$3" 2>"$4"
stat --format=%u "$3/model.safetensors"
sha256sum <"$3/model.safetensors"
"$1" status "$3" >/dev/null
"$1" umount "$3"
if mountpoint --quiet "$3"; then echo still mounted; fi
"""


@pytest.mark.parametrize("readable", [True, False])
def test_1_07_a_user_without_root_mounts_through_fusermount3(readable, open_folder, weightfs):
    source, point, errors = open_folder / "source", open_folder / "mnt", open_folder / "errors"
    state = repositories.make_repository(source)
    (source / "pytorch_model.bin").chmod(0o644 if readable else 0o600)
    binary = open_folder / "weightfs"  # the build folder may be closed to other users
    shutil.copy(weightfs.binary, binary)
    errors.touch()
    for path in (point, errors):
        os.chown(path, OTHER_USER, OTHER_USER)
    with private_devices() as (_, prefix):
        done = subprocess.run(
            [*prefix, "setpriv", f"--reuid={OTHER_USER}", f"--regid={OTHER_USER}", "--clear-groups", "sh", "-c", USER_SCRIPT,
             "sh", binary, source, point, errors], capture_output=True, text=True, timeout=60)
    if readable:
        assert done.returncode == 0, done.stderr + errors.read_text()
        digest = hashlib.sha256(oracle.safetensors_bytes(state)).hexdigest()
        assert done.stdout.split() == [str(OTHER_USER), digest, "-"]
    else:
        # What the user cannot read is not served to him.
        assert done.returncode == 3
        assert "pytorch_model.bin" in errors.read_text()


# 8: a source that changes ----------------------------------------------------------------------------------------------


def read_at(path: Path, offset: int, size: int = 4096) -> bytes:
    fd = os.open(path, os.O_RDONLY)
    try:
        return os.pread(fd, size, offset)
    finally:
        os.close(fd)


def fails_with_estale(path: Path, offset: int) -> bool:
    with pytest.raises(OSError) as caught:
        read_at(path, offset)
    return caught.value.errno == 116


def change_content(path: Path) -> None:
    with open(path, "r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(os.urandom(1000))


def change_by_replacement(path: Path) -> None:
    copy = path.with_name("copy")
    shutil.copy(path, copy)
    os.utime(copy, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    copy.rename(path)


def change_time(path: Path) -> None:
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))


def change_size(path: Path) -> None:
    with open(path, "ab") as file:
        file.write(b"x")


def change_by_truncation(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def change_back(path: Path) -> None:
    """Other content, then the old modification time: only ctime tells."""
    times = (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    change_content(path)
    os.utime(path, ns=times)


CHANGES = [change_content, change_by_replacement, change_time, change_size, change_by_truncation, change_back]


@pytest.mark.parametrize("change", CHANGES, ids=lambda function: function.__name__)
def test_1_08_source_change_gives_estale(change, source, tmp_path, mount):
    """Two models in a tree; one changes. Cached pages stay, new ranges fail, the other model goes on."""
    for name in ("one", "two"):
        (source / name).mkdir()
        (source / name / "config.json").write_text("{}")
    tensors = big_model(source / "one" / "pytorch_model.bin")
    shutil.copy(source / "one" / "pytorch_model.bin", source / "two" / "pytorch_model.bin")
    expected = oracle.safetensors_bytes(tensors)
    with mount(source) as mounted:
        one, two = (mounted / name / "model.safetensors" for name in ("one", "two"))
        cached = read_at(one, 8 * MIB)
        assert cached == expected[8 * MIB:8 * MIB + 4096]
        change(source / "one" / "pytorch_model.bin")
        assert fails_with_estale(one, 50 * MIB)
        assert fails_with_estale(one, 30 * MIB), "it does not recover"
        assert read_at(one, 8 * MIB) == cached
        assert read_at(two, 50 * MIB) == expected[50 * MIB:50 * MIB + 4096]
        assert (mounted / "one" / "config.json").read_text() == "{}"
        assert os.listdir(mounted / "one")


@pytest.mark.parametrize("harmless", [
    lambda path: path.chmod(0o640),
    lambda path: os.link(path, path.with_name("link")),
    lambda path: os.chown(path, 1, 1),
], ids=["chmod", "link", "chown"])
def test_1_08_links_mode_and_owner_are_no_change(harmless, source, mount):
    tensors = big_model(source / "m.pt", 32)
    expected = oracle.safetensors_bytes(tensors)
    with mount(source / "m.pt") as mounted:
        assert read_at(mounted / "model.safetensors", 0) == expected[:4096]
        harmless(source / "m.pt")
        assert read_at(mounted / "model.safetensors", 20 * MIB) == expected[20 * MIB:20 * MIB + 4096]


def test_1_08_mapped_reads_of_a_changed_source_die(source, mount):
    """A page fault cannot return an errno: the process gets SIGBUS, never other bytes."""
    big_model(source / "m.pt")
    program = "import mmap,sys; f=open(sys.argv[1],'rb'); m=mmap.mmap(f.fileno(),0,prot=mmap.PROT_READ); m[50<<20]; print('read')"
    with mount(source / "m.pt") as mounted:
        change_content(source / "m.pt")
        done = subprocess.run([sys.executable, "-c", program, mounted / "model.safetensors"], capture_output=True, text=True,
                              timeout=60)
        assert done.returncode == -signal.SIGBUS and "read" not in done.stdout


# 9: a source that stalls -----------------------------------------------------------------------------------------------


def test_1_09_stalled_source_delays_only_its_own_files(source, tmp_path, weightfs, mountpoint):
    """The weights of one folder lie on another mount, whose process is stopped."""
    big_model(source / "m.pt", 32)
    inner = tmp_path / "inner"
    view = tmp_path / "view"
    for name in ("good", "stalled"):
        (view / name).mkdir(parents=True)
        (view / name / "config.json").write_text("{}")
    good = checkpoints.saved(view / "good" / "pytorch_model.bin", checkpoints.model_tensors())[1]
    (view / "stalled" / "model.safetensors").symlink_to(inner / "model.safetensors")
    with weightfs.mount_in_front(source / "m.pt", inner) as daemon:
        with weightfs.mount(view, mountpoint, "--allow-links", inner):
            file = mountpoint / "stalled" / "model.safetensors"
            daemon.send_signal(signal.SIGSTOP)
            readers = []
            try:
                # More stalled readers than there are threads.
                readers = [subprocess.Popen(["dd", f"if={file}", "of=/dev/null", "bs=64K", "count=1", f"skip={100 + i * 10}",
                                             "status=none"]) for i in range(40)]
                time.sleep(0.5)
                assert any(reader.poll() is None for reader in readers), "nothing stalls"
                begin = time.monotonic()
                assert sorted(os.listdir(mountpoint)) == ["good", "stalled"]
                assert file.stat().st_size > 32 * MIB
                assert (mountpoint / "good" / "model.safetensors").read_bytes() == oracle.safetensors_bytes(good)
                assert (mountpoint / ".weightfs" / "status.json").read_bytes()
                assert time.monotonic() - begin < 5
            finally:
                daemon.send_signal(signal.SIGCONT)
                for reader in readers:
                    assert reader.wait(timeout=30) == 0


# 10: memory and page cache ---------------------------------------------------------------------------------------------


def resident_set_bytes(pid: int, field: str = "VmHWM") -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise LookupError(field)


def written_bytes(pid: int) -> int:
    """What the process made the disk write."""
    (line,) = [line for line in Path(f"/proc/{pid}/io").read_text().splitlines() if line.startswith("write_bytes")]
    return int(line.split()[1])


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--dtype", "f32"]], ids=["keep", "f32"])
def test_1_10_memory_stays_within_its_bound(options, source, weightfs, mountpoint):
    big_model(source / "m.pt", 400)
    metadata = weightfs.json("inspect", "--json", source / "m.pt")["metadata_bytes"]
    with weightfs.mount_in_front(source / "m.pt", mountpoint, *options) as daemon:
        before = written_bytes(daemon.pid)
        subprocess.run(["cat", mountpoint / "model.safetensors"], stdout=subprocess.DEVNULL, check=True, timeout=120)
        assert written_bytes(daemon.pid) == before
        threads = json.loads((mountpoint / ".weightfs" / "status.json").read_text())["threads"]["max"]
        bound = 64 * MIB + 3 * MIB * threads + 3 * metadata + 64 * MIB
        assert resident_set_bytes(daemon.pid) < bound


@pytest.mark.parametrize("options", [[], ["--dtype", "f32"]], ids=["keep", "f32"])
def test_1_10_a_read_fills_the_page_cache_once(options, source, mount):
    big_model(source / "m.pt", 64)
    fd = os.open(source / "m.pt", os.O_RDONLY)
    os.fsync(fd)
    drop_cached(fd)
    os.close(fd)
    assert resident_bytes(source / "m.pt") < 8 * MIB, "this file system keeps pages that it was asked to drop"
    with mount(source / "m.pt", *options) as mounted:
        subprocess.run(["cat", mounted / "model.safetensors"], stdout=subprocess.DEVNULL, check=True, timeout=120)
        assert resident_bytes(mounted / "model.safetensors") > 60 * MIB
        assert resident_bytes(source / "m.pt") < 8 * MIB
        counters = json.loads((mounted / ".weightfs" / "status.json").read_text())["sources"]
        assert sum(file["direct_reads"] for file in counters) > 0


# 11: the same everywhere -----------------------------------------------------------------------------------------------


def test_1_11_bytes_do_not_depend_on_threads_or_read_size(source, weightfs, mountpoint):
    path, tensors = checkpoints.CASES["zip_views"].write(source)
    expected = oracle.safetensors_bytes(oracle.cast(tensors, "bf16"))
    for threads in (1, 3, 16):
        with weightfs.mount(path, mountpoint, "--dtype", "bf16", "--threads", str(threads)) as mounted:
            for size in (1000, 4096, 131_072):
                fd = os.open(mounted / "model.safetensors", os.O_RDONLY)
                drop_cached(fd)
                got = b"".join(iter(lambda: os.read(fd, size), b""))  # noqa: B023 - used at once
                os.close(fd)
                assert got == expected


# 12: errors are told ---------------------------------------------------------------------------------------------------


def test_1_12_errors_are_in_status_json(source, weightfs, mount):
    big_model(source / "m.pt")
    with mount(source / "m.pt") as mounted:
        assert json.loads((mounted / ".weightfs" / "status.json").read_text())["errors"] == []
        change_size(source / "m.pt")
        for i in range(70):
            with pytest.raises(OSError):
                read_at(mounted / "model.safetensors", 40 * MIB + i * 8192)
        status = json.loads((mounted / ".weightfs" / "status.json").read_text())
        assert len(status["errors"]) == 64
        assert status["error_count"] >= 70
        last = status["errors"][-1]
        assert last["file"].endswith("model.safetensors") and "m.pt" in last["cause"] and last["errno"] == 116
        assert json.loads(weightfs("status", mounted, "--json").stdout)["error_count"] >= 70


SYSLOG_SCRIPT = """
"$1" mount "$2" "$3" || exit 1
printf x >>"$2"
dd if="$3/model.safetensors" of=/dev/null bs=4096 skip=9000 count=1
"$1" umount "$3"
"""


def test_1_12_errors_go_to_syslog(source, weightfs, mountpoint):
    """A socket of our own is the /dev/log of the daemon."""
    big_model(source / "m.pt")
    with private_devices() as (devices, prefix), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind(str(devices / "log"))
        log.settimeout(20)
        done = subprocess.run([*prefix, "sh", "-c", SYSLOG_SCRIPT, "sh", weightfs.binary, source / "m.pt", mountpoint],
                              capture_output=True, text=True, timeout=60)
        assert "Stale" in done.stderr, done.stderr
        line = log.recv(4096).decode()
        assert "weightfs" in line and "m.pt" in line, line


# Ends of a mount -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda s: s.name)
def test_signals_unmount(end, source, mountpoint, weightfs):
    repositories.make_repository(source)
    with weightfs.mount_in_front(source, mountpoint) as daemon:
        daemon.send_signal(end)
        assert daemon.wait(timeout=10) == 0, daemon.stderr.read()
        assert not is_mountpoint(mountpoint)


def test_sigterm_of_the_daemon_unmounts(source, mountpoint, weightfs):
    repositories.make_repository(source)
    weightfs("mount", source, mountpoint)
    os.kill(json.loads((mountpoint / ".weightfs" / "status.json").read_text())["pid"], signal.SIGTERM)
    wait_until(lambda: not is_mountpoint(mountpoint), what="the unmount")


def test_kill_9_leaves_a_mountpoint_that_umount_clears(source, mountpoint, weightfs):
    repositories.make_repository(source)
    with weightfs.mount_in_front(source, mountpoint) as daemon:
        daemon.kill()
        daemon.wait(timeout=10)
        with pytest.raises(OSError) as caught:
            os.listdir(mountpoint)
        assert caught.value.errno == 107  # ENOTCONN
        assert is_mountpoint(mountpoint)
        refused = weightfs("mount", source, mountpoint, status=2)
        assert "umount" in refused.stderr
        weightfs("umount", mountpoint)
        assert not is_mountpoint(mountpoint)
        with weightfs.mount(source, mountpoint):
            assert os.listdir(mountpoint)


def test_mapping_outlives_a_lazy_unmount(source, mountpoint, weightfs):
    """What a loader mapped stays readable: the daemon serves until the last file is closed, or the pages are there."""
    tensors = big_model(source / "m.pt", 16)
    expected = oracle.safetensors_bytes(tensors)
    weightfs("mount", source / "m.pt", mountpoint)
    with open(mountpoint / "model.safetensors", "rb") as file:
        mapping = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        assert mapping[: 1000] == expected[:1000]
        busy = weightfs("umount", mountpoint, status=1)
        assert "busy" in busy.stderr
        subprocess.run(["umount", "--lazy", mountpoint], check=True)
        assert mapping[-1000:] == expected[-1000:]
        mapping.close()


def test_descriptors_are_not_used_up(source, weightfs, mountpoint):
    """More shards than the soft limit of open files."""
    names = {f"layer.{i}.weight": torch.full((3,), float(i)) for i in range(400)}
    repositories.save_sharded(names, source, 200)
    (source / "config.json").write_text("{}")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with weightfs.mount_in_front(source, mountpoint,
                                 preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))):
        assert (mountpoint / "model.safetensors").read_bytes() == oracle.safetensors_bytes(names)
