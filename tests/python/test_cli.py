"""The command line: exit statuses, messages and every command (design: section 2)."""

import errno
import fcntl
import hashlib
import json
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import threading
import time
from pathlib import Path

import jsonschema
import pytest
import torch

import checkpoints
import oracle
import repositories
from mounting import is_mountpoint, private_devices, wait_until
from pickle_assembler import ordered_dict, pickled, storage, tensor
from zip_writer import Member, write_zip

COMMANDS = ["mount", "umount", "run", "inspect", "verify", "export", "status", "families", "formats", "doctor"]
OPTIONS = ["--dtype", "--to", "--family", "--max-shard-size", "--config", "--overlay", "--rules", "--include", "--exclude",
           "--weights", "--tag", "--also", "--allow-links", "--trim-vocab", "--vocab-size", "--tp", "--pp", "--partial",
           "--cache", "--threads", "--readahead", "--direct-io", "--source-io"]


@pytest.fixture
def checkpoint(source) -> Path:
    return checkpoints.CASES["zip_protocol_2"].write(source)[0]


# Help and usage --------------------------------------------------------------------------------------------------------


def test_help_names_every_command_and_option(weightfs):
    text = weightfs("--help").stdout
    assert all(re.search(rf"^\s+{command}\b", text, re.MULTILINE) for command in COMMANDS)
    mount_help = weightfs("mount", "--help").stdout
    assert [option for option in OPTIONS if option not in mount_help] == []
    for command in COMMANDS:
        assert weightfs(command, "--help").stdout.startswith("Usage: weightfs " + command)


def test_version(weightfs):
    assert re.fullmatch(r"weightfs \d+\.\d+\.\d+\n", weightfs("--version").stdout)


@pytest.mark.parametrize("arguments", [
    [], ["frobnicate"], ["mount"], ["mount", "SOURCE"], ["mount", "--dtype"], ["mount", "SOURCE", "MOUNTPOINT", "--frob"],
    ["mount", "SOURCE", "MOUNTPOINT", "extra"], ["inspect"], ["export", "SOURCE"], ["umount"], ["status"], ["run", "SOURCE"],
    ["run", "SOURCE", "--"],
])
def test_wrong_usage_is_exit_2(arguments, checkpoint, mountpoint, weightfs):
    words = {"SOURCE": checkpoint, "MOUNTPOINT": mountpoint}
    done = weightfs(*[words.get(word, word) for word in arguments], status=2)
    assert done.stderr.startswith("weightfs: ") and done.stdout == ""


@pytest.mark.parametrize("options", [
    ["--dtype", "int8"], ["--dtype", "f8"], ["--dtype", ""], ["--max-shard-size", "0"], ["--max-shard-size", "five"],
    ["--include", "("], ["--exclude", "[z-a]"], ["--threads", "0"], ["--threads", "many"], ["--cache", "-1"],
    ["--readahead", "1"], ["--source-io", "mmap"], ["--config", "/nonexistent/config.json"],
    ["--overlay", "/nonexistent"], ["--rules", "/nonexistent"], ["--dtype", "f32", "--dtype", "f16"],
    # Options of formats and targets still to come parse, and say so; so do those that the source has no use for.
    ["--to", "diffusers"], ["--to", "nonsense"], ["--family", "nonsense"], ["--tag", "global_step1"], ["--also", "/tmp"],
    ["--trim-vocab"], ["--vocab-size", "100"], ["--tp", "2"], ["--pp", "2"],
])
def test_options_that_do_not_fit_are_exit_2(options, checkpoint, mountpoint, weightfs):
    done = weightfs("mount", checkpoint, mountpoint, *options, status=2)
    assert options[0] in done.stderr, done.stderr
    assert not is_mountpoint(mountpoint)


@pytest.mark.parametrize("command, option", [("umount", "--dtype=f32"), ("status", "--partial"), ("inspect", "--direct-io"),
                                             ("export", "--readahead=1MiB"), ("mount", "--json"), ("verify", "--allow-other")])
def test_option_of_another_command_is_exit_2(command, option, checkpoint, mountpoint, tmp_path, weightfs):
    operands = {"umount": [mountpoint], "status": [mountpoint], "export": [checkpoint, tmp_path / "out"],
                "mount": [checkpoint, mountpoint]}.get(command, [checkpoint])
    done = weightfs(command, *operands, option, status=2)
    assert option.split("=")[0] in done.stderr and "apply" in done.stderr


def test_bad_mountpoints_are_exit_2(checkpoint, tmp_path, mountpoint, weightfs):
    file = tmp_path / "file"
    file.write_text("")
    full = tmp_path / "full"
    full.mkdir()
    (full / "something").write_text("")
    for point in (tmp_path / "absent", file, full):
        assert str(point) in weightfs("mount", checkpoint, point, status=2).stderr
    with weightfs.mount(checkpoint, mountpoint):
        assert str(mountpoint) in weightfs("mount", checkpoint, mountpoint, status=2).stderr


def test_bad_sources_are_exit_3(tmp_path, mountpoint, weightfs):
    empty = tmp_path / "empty"
    empty.mkdir()
    for path in (tmp_path / "absent.bin", empty, Path("/dev/null")):
        for command in (["mount", path, mountpoint], ["inspect", path], ["verify", path], ["export", path, tmp_path / "out"]):
            assert str(path) in weightfs(*command, status=3).stderr


def test_messages_have_one_line_per_cause_and_name_the_file(source, mountpoint, weightfs):
    (source / "config.json").write_text("{}")
    (source / "pytorch_model.bin").write_bytes(b"<html></html>")
    lines = weightfs("mount", source, mountpoint, status=3).stderr.splitlines()
    assert re.match(r"weightfs: \S*pytorch_model\.bin: .+; expected .+", lines[0]), lines
    assert len(lines) <= 3


def test_serving_less_than_expected_is_one_line(checkpoint, mountpoint, weightfs):
    done = weightfs("mount", checkpoint, mountpoint)
    try:
        assert "config.json" in done.stderr
        assert all(line.startswith("weightfs: ") for line in done.stderr.splitlines())
    finally:
        weightfs("umount", mountpoint)


def test_complete_repository_mounts_without_a_word(source, mountpoint, weightfs):
    repositories.make_repository(source, "llama")
    done = weightfs("mount", source, mountpoint)
    try:
        # Hints about the machine (read-ahead) are for users without root.
        assert done.stdout == "" and done.stderr == ""
    finally:
        weightfs("umount", mountpoint)


# mount, umount, status -------------------------------------------------------------------------------------------------


def test_umount_of_what_is_no_mount_is_exit_1(tmp_path, checkpoint, weightfs):
    assert "not" in weightfs("umount", tmp_path, status=1).stderr
    assert weightfs("status", tmp_path, status=1).stderr


def test_status(checkpoint, mountpoint, weightfs):
    with weightfs.mount(checkpoint, mountpoint):
        (mountpoint / "model.safetensors").read_bytes()
        status = weightfs.json("status", mountpoint, "--json")
        assert status["served"]["weights"]["bytes"] >= (mountpoint / "model.safetensors").stat().st_size
        assert status["errors"] == []
        assert str(mountpoint) in weightfs("status", mountpoint).stdout
        assert json.loads((mountpoint / ".weightfs" / "status.json").read_text())["pid"] == status["pid"]


def test_relative_paths(checkpoint, tmp_path, mountpoint, weightfs):
    weightfs("mount", os.path.relpath(checkpoint, tmp_path), "mnt", cwd=tmp_path)
    assert os.listdir(mountpoint) == ["model.safetensors"]
    weightfs("umount", "mnt", cwd=tmp_path)


def test_odd_characters_in_paths(source, tmp_path, weightfs):
    path = source / "a b,c\\d=é\n.pt"
    checkpoints.saved(path, {"w": torch.ones(2)})
    point = tmp_path / "mnt, with\\ words é"
    with weightfs.mount(path, point) as mounted:
        assert os.listdir(mounted) == ["model.safetensors"]


# mount(8) and fstab ----------------------------------------------------------------------------------------------------


@pytest.fixture
def mount_helper(weightfs):
    """/sbin/mount.fuse.weightfs as an installation makes it: a link to the program."""
    links = [Path("/sbin/mount.fuse.weightfs"), Path("/sbin/mount.weightfs")]
    made = []
    for link in links:
        if link.is_symlink():
            link.unlink()
        link.symlink_to(weightfs.binary.resolve())
        made.append(link)
    yield
    for link in made:
        link.unlink()


def run_mount(*words) -> subprocess.CompletedProcess:
    return subprocess.run(["mount", *map(str, words)], capture_output=True, text=True, timeout=60)


def test_mount_by_type(mount_helper, checkpoint, mountpoint, weightfs):
    words = "rw,dev,suid,user,nofail,_netdev,x-systemd.automount,noatime,dtype=bf16,max-shard-size=20KB"
    done = run_mount("-t", "fuse.weightfs", checkpoint, mountpoint, "-o", words)
    assert done.returncode == 0, done.stderr
    try:
        assert "model.safetensors.index.json" in os.listdir(mountpoint)
        table = subprocess.run(["findmnt", "--noheadings", "--output", "FSTYPE,OPTIONS", mountpoint], capture_output=True,
                               text=True, check=True).stdout
        assert "fuse.weightfs" in table and "ro," in table and "nosuid" in table and "nodev" in table
    finally:
        subprocess.run(["umount", mountpoint], check=True, timeout=60)
    assert not is_mountpoint(mountpoint)


def test_mount_by_type_reports_failure(mount_helper, checkpoint, mountpoint):
    assert run_mount("-t", "fuse.weightfs", checkpoint, mountpoint, "-o", "dtype=int8").returncode != 0
    unknown = run_mount("-t", "fuse.weightfs", checkpoint, mountpoint, "-o", "frobnicate")
    assert unknown.returncode != 0 and "frobnicate" in unknown.stderr
    assert not is_mountpoint(mountpoint)


def test_fstab_line(mount_helper, checkpoint, mountpoint, tmp_path):
    table = tmp_path / "fstab"
    table.write_text(f"{checkpoint} {mountpoint} fuse.weightfs noauto,nofail,dtype=f16,exclude=^steps$,allow_other 0 0\n")
    done = run_mount("--fstab", table, mountpoint)
    assert done.returncode == 0, done.stderr
    try:
        assert os.listdir(mountpoint) == ["model.safetensors"]
    finally:
        subprocess.run(["umount", mountpoint], check=True, timeout=60)


def test_source_and_words_alone_mount(checkpoint, mountpoint, weightfs):
    weightfs(checkpoint, mountpoint, "-o", "ro,dtype=f32")
    assert os.listdir(mountpoint) == ["model.safetensors"]
    weightfs("umount", mountpoint)


# run -------------------------------------------------------------------------------------------------------------------


def test_run_replaces_braces_and_sets_the_variable(checkpoint, weightfs):
    done = weightfs("run", checkpoint, "--", "sh", "-c", 'ls {}; echo "at $WEIGHTFS_MOUNT"; test -d "$WEIGHTFS_MOUNT"')
    assert done.stdout.splitlines()[0] == "model.safetensors"
    point = Path(done.stdout.split("at ")[1].strip())
    assert not is_mountpoint(point) and not point.exists()


@pytest.mark.parametrize("script, status", [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 128 + 15), ("kill -9 $$", 137)])
def test_run_returns_the_status_of_its_command(script, status, checkpoint, weightfs):
    weightfs("run", checkpoint, "--", "sh", "-c", script, status=status)


def test_run_that_fails_itself_is_125(tmp_path, checkpoint, weightfs):
    weightfs("run", tmp_path / "absent", "--", "true", status=125)
    assert "no-such-command" in weightfs("run", checkpoint, "--", "no-such-command", status=None).stderr


def test_run_passes_options_of_the_command_on(checkpoint, weightfs):
    done = weightfs("run", checkpoint, "--dtype", "f16", "--", "echo", "--dtype", "x", "-f", "{}/model.safetensors")
    assert done.stdout.startswith("--dtype x -f /") and done.stdout.endswith("/model.safetensors\n")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM], ids=lambda s: s.name)
def test_interrupted_run_unmounts(how, checkpoint, tmp_path, weightfs):
    note = tmp_path / "where"
    with subprocess.Popen([weightfs.binary, "run", checkpoint, "--", "sh", "-c", f'echo "$WEIGHTFS_MOUNT" >{note}; exec sleep 60'],
                          start_new_session=True) as running:
        wait_until(lambda: note.exists() and note.read_text().strip(), what="the command")
        point = Path(note.read_text().strip())
        assert is_mountpoint(point)
        os.killpg(running.pid, how)  # as Ctrl-C in a terminal does
        assert running.wait(timeout=20) == 128 + how
    assert not is_mountpoint(point)


# inspect ---------------------------------------------------------------------------------------------------------------


def test_inspect_says_what_it_is(source, weightfs):
    repositories.make_repository(source, "llama", parts=2)
    text = weightfs("inspect", source).stdout
    for word in ("torch", "lm_head.weight", "identity"):
        assert word in text, text
    report = weightfs.json("inspect", source, "--json")
    state = repositories.make_model("llama").state_dict()
    assert {t["name"]: t["shape"] for t in report["tensors"]} == {n: list(t.shape) for n, t in state.items()}
    assert report["sets"][0]["tensor_bytes"] == sum(t.numel() * t.element_size() for t in state.values())


def test_inspect_lists_candidate_mappings(source, weightfs):
    path = source / "gan.pt"
    torch.save({"params": {"w": torch.ones(1)}, "params_ema": {"w": torch.ones(1), "v": torch.ones(2)}, "iter": 3}, path)
    candidates = {c["path"]: c for c in weightfs.json("inspect", path, "--json")["sets"][0]["candidates"]}
    assert candidates["params_ema"]["chosen"] and not candidates["params"]["chosen"]
    assert candidates["params_ema"]["tensor_count"] == 2
    text = weightfs("inspect", path).stdout
    assert "params_ema" in text and "iter" in text


def test_inspect_one_tensor(source, weightfs):
    path, _ = checkpoints.CASES["zip_views"].write(source)
    text = weightfs("inspect", path, "--tensor", "transposed_16", "--dtype", "f32").stdout
    assert "views.pt" in text and "F16" in text and "F32" in text
    assert weightfs("inspect", path, "--tensor", "no.such.tensor", status=2).stderr


def test_inspect_table_fits_a_terminal(source, weightfs):
    repositories.make_repository(source, "gpt2")
    for columns in (80, 120):
        output = in_terminal(["sh", "-c", 'exec "$0" inspect "$1" 2>/dev/null', weightfs.binary, source], columns)
        lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in output.splitlines()]
        assert max(map(len, lines)) <= columns
    piped = weightfs("inspect", source).stdout
    assert "\x1b" not in piped


def sparse_model(path: Path, terabytes: int) -> Path:
    """A torch zip file whose one storage is a hole of that size."""
    count = terabytes * 10**12 // 2
    rows = count // 1000
    root = ordered_dict({"huge.weight": tensor(storage("HalfStorage", "0", rows * 1000), (rows, 1000), (1000, 1))})
    return write_zip(path, [Member("archive/data.pkl", pickled(root)), Member("archive/version", b"3\n"),
                            Member("archive/data/0", hole_bytes=rows * 2000)])


def test_inspect_of_a_terabyte_is_as_fast_as_of_a_byte(source, mountpoint, weightfs):
    small, huge = checkpoints.saved(source / "small.pt", {"w": torch.ones(1)})[0], sparse_model(source / "huge.pt", 1)

    def seconds(path: Path) -> float:
        best = float("inf")
        for _ in range(5):
            begin = time.monotonic()
            weightfs("inspect", path)
            best = min(best, time.monotonic() - begin)
        return best

    assert seconds(huge) < seconds(small) + 0.05
    with weightfs.mount(huge, mountpoint, "--dtype", "f32"):
        assert (mountpoint / "model.safetensors").stat().st_size > 1.9e12
        fd = os.open(mountpoint / "model.safetensors", os.O_RDONLY)
        assert os.pread(fd, 5000, 10**12 + 3) == bytes(5000)
        os.close(fd)
    huge.unlink()


# verify ----------------------------------------------------------------------------------------------------------------


def test_verify_digests_every_tensor_and_file(source, weightfs):
    path, tensors = checkpoints.CASES["zip_protocol_2"].write(source)
    report = weightfs.json("verify", path, "--json")
    digests = {tensor["name"]: tensor["sha256"] for tensor in report["tensors"]}
    for name, t in oracle.materialize(tensors).items():
        assert digests[name] == hashlib.sha256(t.reshape(-1).view(torch.uint8).numpy().tobytes()).hexdigest()
    files = {file["path"]: file["sha256"] for file in report["files"]}
    assert files["model.safetensors"] == hashlib.sha256(oracle.safetensors_bytes(tensors)).hexdigest()
    assert files["model.safetensors"] in weightfs("verify", path).stdout


def test_verify_against_a_folder_and_a_manifest(source, tmp_path, weightfs):
    state = repositories.make_repository(source / "bin", "llama")
    repositories.make_model("llama").save_pretrained(source / "native")
    assert weightfs("verify", source / "bin", "--against", source / "native").returncode == 0
    manifest = tmp_path / "digests.json"
    manifest.write_text(weightfs("verify", source / "bin", "--json").stdout)
    assert weightfs("verify", source / "bin", "--against", manifest).returncode == 0
    changed = dict(state)
    changed["model.norm.weight"] = state["model.norm.weight"] + 1
    torch.save(changed, source / "bin" / "pytorch_model.bin")
    for other in (source / "native", manifest):
        done = weightfs("verify", source / "bin", "--against", other, status=1)
        assert "model.norm.weight" in done.stdout + done.stderr


# export ----------------------------------------------------------------------------------------------------------------


def test_export_writes_the_whole_view(source, tmp_path, mountpoint, weightfs):
    repositories.make_pipeline(source / "pipeline")
    weightfs("export", source / "pipeline", tmp_path / "out", "--dtype", "f16")
    with weightfs.mount(source / "pipeline", mountpoint, "--dtype", "f16"):
        compared = subprocess.run(["diff", "--recursive", mountpoint, tmp_path / "out"], capture_output=True, text=True)
        assert compared.returncode == 0, compared.stdout
    assert not (tmp_path / "out" / ".weightfs").exists()


def test_export_into_an_empty_folder_and_not_into_a_full_one(checkpoint, tmp_path, weightfs):
    (tmp_path / "empty").mkdir()
    weightfs("export", checkpoint, tmp_path / "empty")
    before = (tmp_path / "empty" / "model.safetensors").read_bytes()
    assert str(tmp_path / "empty") in weightfs("export", checkpoint, tmp_path / "empty", status=2).stderr
    assert (tmp_path / "empty" / "model.safetensors").read_bytes() == before


def test_export_is_silent_in_a_pipe(checkpoint, tmp_path, weightfs):
    done = weightfs("export", checkpoint, tmp_path / "out")
    assert done.stdout == "" and "%" not in done.stderr and "\r" not in done.stderr


def in_terminal(command: list, columns: int = 80, during=None) -> str:
    """Runs `command` on a pseudo-terminal and returns what it shows."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    shown = bytearray()
    with subprocess.Popen(list(map(str, command)), stdin=follower, stdout=follower, stderr=follower, close_fds=True,
                          env={**os.environ, "TERM": "xterm"}) as running:
        os.close(follower)

        def copy() -> None:
            while True:
                try:
                    data = os.read(leader, 65536)
                except OSError:
                    return
                if not data:
                    return
                shown.extend(data)

        reader = threading.Thread(target=copy)
        reader.start()
        if during:
            during(running)
        running.wait(timeout=120)
        reader.join(timeout=10)
    os.close(leader)
    return shown.decode(errors="replace").replace("\r\n", "\n")


def test_export_shows_progress_on_a_terminal(source, tmp_path, weightfs):
    torch.save({f"w{i}": torch.zeros(1 << 22) for i in range(16)}, source / "m.pt")
    shown = in_terminal([weightfs.binary, "export", source / "m.pt", tmp_path / "out", "--dtype", "f64"])
    assert "\r" in shown and "/s" in shown and re.search(r"\d+ ?%|[MG]i?B", shown), shown


def start_export(weightfs, source: Path, out: Path) -> subprocess.Popen:
    """An export of half a gigabyte, some way in."""
    torch.save({f"w{i}": torch.zeros(1 << 22) for i in range(8)}, source / "m.pt")
    running = subprocess.Popen([weightfs.binary, "export", source / "m.pt", out, "--dtype", "f64"], stderr=subprocess.PIPE)
    wait_until(lambda: sum(f.stat().st_size for f in out.parent.rglob("*.safetensors")) > 0 or running.poll() is not None,
               what="the export")
    return running


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM], ids=lambda s: s.name)
def test_interrupted_export_leaves_nothing(how, source, tmp_path, weightfs):
    folder = tmp_path / "target"
    folder.mkdir()
    running = start_export(weightfs, source, folder / "out")
    running.send_signal(how)
    assert running.wait(timeout=30) != 0
    assert os.listdir(folder) == []


def test_failed_export_leaves_nothing(source, tmp_path, weightfs):
    """The disk is full: a small file system of the test's own."""
    torch.save({"w": torch.zeros(1 << 22)}, source / "m.pt")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8M", "none", disk], check=True)
    try:
        done = weightfs("export", source / "m.pt", disk / "out", status=1)
        assert os.strerror(errno.ENOSPC) in done.stderr
        assert os.listdir(disk) == []
    finally:
        subprocess.run(["umount", disk], check=True)


def test_killed_export_never_looks_complete(source, tmp_path, weightfs):
    folder = tmp_path / "target"
    folder.mkdir()
    running = start_export(weightfs, source, folder / "out")
    running.kill()
    running.wait(timeout=30)
    assert not (folder / "out").exists()


# formats, families, doctor ---------------------------------------------------------------------------------------------


def test_formats(weightfs):
    text = weightfs("formats").stdout
    for name in ("torch-zip", "torch-legacy", "torch-tar", "safetensors"):
        assert name in text
    assert {entry["name"] for entry in weightfs.json("formats", "--json")["formats"]} >= {"torch-zip", "safetensors"}


def test_families(weightfs):
    text = weightfs("families").stdout
    families = weightfs.json("families", "--json")["families"]
    assert len({family["name"] for family in families}) == len(families)
    for family in families:
        assert f"{family['name']}\n" in text
        assert family["title"] and family["source"] and family["target"] in ("hf", "diffusers") and not family["user"]
        one = weightfs.json("families", family["name"], "--json")["families"]
        assert one == [family]
        assert family["name"] in weightfs("families", family["name"]).stdout
    assert {"identity", "none"} <= {family["name"] for family in families}
    done = weightfs("families", "no-such-family", status=2)
    assert "no-such-family" in done.stderr and "identity" in done.stderr


def test_rules_files_that_cannot_be_read_are_exit_2(tmp_path, weightfs, checkpoint, mountpoint):
    (tmp_path / "empty.json").write_text("")
    for rules in (tmp_path / "absent.json", tmp_path, tmp_path / "empty.json"):
        assert str(rules) in weightfs("families", "--rules", rules, status=2).stderr
        # The rules are read before the source is looked at.
        assert str(rules) in weightfs("mount", tmp_path / "no-source", mountpoint, "--rules", rules, status=2).stderr


def test_doctor(weightfs):
    done = weightfs("doctor")
    assert "/dev/fuse" in done.stdout and "read-ahead" in done.stdout.lower()


def without_fuse(weightfs, *arguments, status: int) -> str:
    """Runs the program where there is no /dev/fuse; what it says."""
    with private_devices(with_fuse=False) as (_, prefix):
        done = subprocess.run([*prefix, weightfs.binary, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_doctor_without_fuse_says_so(weightfs):
    assert "/dev/fuse" in without_fuse(weightfs, "doctor", status=1)


def test_mount_without_fuse_names_the_device_and_the_way_round(checkpoint, mountpoint, weightfs):
    said = without_fuse(weightfs, "mount", checkpoint, mountpoint, status=1)
    assert "/dev/fuse" in said and "export" in said, said


def test_export_needs_no_fuse(checkpoint, tmp_path, weightfs):
    without_fuse(weightfs, "export", checkpoint, tmp_path / "out", status=0)
    assert (tmp_path / "out" / "model.safetensors").exists()


# JSON against its schemas ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schema, command", [("inspect", ["inspect"]), ("verify", ["verify"])])
@pytest.mark.parametrize("name", ["zip_views", "training_checkpoint", "lz4_small_blocks"])
def test_json_follows_its_schema(schema, command, name, source, weightfs):
    docs = Path(__file__).resolve().parents[2] / "docs"
    path, _ = checkpoints.CASES[name].write(source)
    jsonschema.validate(weightfs.json(*command, path, "--json"), json.loads((docs / f"{schema}.schema.json").read_text()))


@pytest.mark.parametrize("name", ["zip_views", "unicode_names"])
def test_files_of_the_hidden_folder_follow_their_schemas(name, source, mountpoint, weightfs):
    docs = Path(__file__).resolve().parents[2] / "docs"
    path, _ = checkpoints.CASES[name].write(source)
    with weightfs.mount(path, mountpoint, "--dtype", "bf16"):
        for kind in ("manifest", "status"):
            found = json.loads((mountpoint / ".weightfs" / f"{kind}.json").read_text())
            jsonschema.validate(found, json.loads((docs / f"{kind}.schema.json").read_text()))


def test_status_follows_its_schema(source, mountpoint, weightfs):
    docs = Path(__file__).resolve().parents[2] / "docs"
    path, _ = checkpoints.CASES["zip_views"].write(source)
    with weightfs.mount(path, mountpoint):
        status = json.loads((mountpoint / ".weightfs" / "status.json").read_text())
    jsonschema.validate(status, json.loads((docs / "status.schema.json").read_text()))


def test_manifest_ranges_point_at_the_bytes(source, mountpoint, weightfs):
    """Each contiguous, uncast tensor can be cut out of the source with the manifest alone."""
    path, tensors = checkpoints.CASES["zip_views"].write(source)
    data = path.read_bytes()
    cut = 0
    with weightfs.mount(path, mountpoint):
        manifest = json.loads((mountpoint / ".weightfs" / "manifest.json").read_text())
        served = (mountpoint / "model.safetensors").read_bytes()
    for entry in manifest["tensors"]:
        begin, end = entry["file_range"]
        expected = oracle.materialize({"t": tensors[entry["name"]]})["t"].reshape(-1).view(torch.uint8).numpy().tobytes()
        assert served[begin:end] == expected
        (source,) = entry["sources"]
        if source["on_disk"] and "modes" not in source and entry["size_bytes"]:
            begin, end = source["byte_range"]
            assert data[begin:end] == expected, entry["name"]
            cut += 1
    assert cut >= 8
