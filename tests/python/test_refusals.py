"""What must not be served is refused at mount with exit 3 and a message that helps; nothing is ever executed."""

import shlex
import subprocess
import time

import pytest
import torch

import checkpoints
import hostile
import oracle
from safetensors_files import assert_same_file


def refused(weightfs, path, mountpoint, status: int = 3) -> str:
    """Mounts, inspects and exports `path`: each is refused in the same way. Returns the message."""
    begin = time.monotonic()
    done = weightfs("mount", path, mountpoint, status=status)
    assert time.monotonic() - begin < 5, "a verdict must be cheap"
    assert done.stdout == ""
    first = done.stderr.splitlines()[0]
    assert first.startswith("weightfs: "), done.stderr
    assert path.name in done.stderr, done.stderr
    weightfs("inspect", path, status=status)
    weightfs("export", path, mountpoint.parent / "out", status=status)
    assert not (mountpoint.parent / "out").exists()
    return done.stderr


@pytest.mark.parametrize("kind", hostile.LOOK_ALIKES)
def test_look_alikes_have_their_own_message(kind, source, mountpoint, weightfs):
    make, words = hostile.LOOK_ALIKES[kind]
    path = source / "pytorch_model.bin"
    make(path)
    message = refused(weightfs, path, mountpoint).lower()
    assert any(word in message for word in words), message
    # In a repository the file is met under the same name.
    (source / "config.json").write_text("{}")
    assert any(word in refused_folder(weightfs, source, mountpoint).lower() for word in words)


def refused_folder(weightfs, folder, mountpoint) -> str:
    message = weightfs("mount", folder, mountpoint, status=3).stderr
    assert "pytorch_model.bin" in message
    return message


def test_look_alike_messages_differ(source, mountpoint, weightfs):
    messages = set()
    for kind, (make, _) in hostile.LOOK_ALIKES.items():
        path = source / "same.bin"
        make(path)
        messages.add(refused(weightfs, path, mountpoint))
        path.unlink()
    assert len(messages) >= len(hostile.LOOK_ALIKES) - 1  # zeros and text may share theirs


@pytest.mark.parametrize("kind", hostile.UNSUPPORTED_TENSORS)
def test_tensors_that_safetensors_cannot_carry(kind, source, mountpoint, weightfs, mount):
    make, words = hostile.UNSUPPORTED_TENSORS[kind]
    path = source / "model.pt"
    good = {"good.weight": torch.arange(4.0)}
    torch.save({**good, "bad.weight": make()}, path)
    message = refused(weightfs, path, mountpoint)
    assert "bad.weight" in message, message
    assert any(word in message.lower() for word in words), message
    with mount(path, "--exclude", "^bad") as mounted:
        assert_same_file((mounted / "model.safetensors").read_bytes(), oracle.safetensors_bytes(good))
        assert "bad.weight" in (mounted / ".weightfs" / "manifest.json").read_text()


@pytest.mark.parametrize("kind", hostile.REFUSED_ROOTS)
def test_roots_that_are_no_state_dict(kind, source, mountpoint, weightfs):
    make, words = hostile.REFUSED_ROOTS[kind]
    path = source / "model.pt"
    torch.save(make(), path)
    message = refused(weightfs, path, mountpoint)
    assert any(word.lower() in message.lower() for word in words), message


@pytest.mark.parametrize("kind", hostile.CORRUPT)
def test_corrupt_files(kind, source, mountpoint, weightfs):
    path = source / "model.bin"
    hostile.CORRUPT[kind](path)
    message = refused(weightfs, path, mountpoint)
    assert "expected" in message or "limit" in message, message


def test_value_that_contains_itself_is_left_out(source, mount):
    path = source / "loop.pt"
    hostile.self_containing_value(path)
    with mount(path) as mounted:
        assert_same_file((mounted / "model.safetensors").read_bytes(), oracle.safetensors_bytes({"w": torch.zeros(4)}))


@pytest.mark.parametrize("options", [("-BD", "-B4", "--content-size"), ("-BI", "-B4"), ("-BD", "-B4")])
def test_lz4_that_cannot_seek_names_the_remedy(options, source, mountpoint, weightfs):
    path, _ = checkpoints.saved(source / "model.bin", {"big": torch.randn(500, 1000)})
    packed = checkpoints.lz4(path, *options)
    message = refused(weightfs, packed, mountpoint)
    assert "-BI" in message and "--content-size" in message, message


def test_truncated_lz4(source, mountpoint, weightfs):
    path, _ = checkpoints.saved(source / "model.bin", {"big": torch.randn(500, 1000)})
    packed = checkpoints.lz4(path)
    packed.write_bytes(packed.read_bytes()[:-1000])
    refused(weightfs, packed, mountpoint)


def test_deflated_member_larger_than_the_cache(source, mountpoint, weightfs, mount):
    path, tensors = checkpoints.rewritten(
        source, lambda name, data: checkpoints.Member(name, data, method=checkpoints.DEFLATED), {"big": torch.zeros(1 << 20)})
    refusal = weightfs("mount", path, mountpoint, "--cache", "1MiB", status=3).stderr
    assert "--cache" in refusal and "torch.save" in refusal, refusal
    with mount(path, "--cache", "5MiB") as mounted:
        assert_same_file((mounted / "model.safetensors").read_bytes(), oracle.safetensors_bytes(tensors))


# Canary ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hide", [hostile.hide_in_zip, hostile.hide_in_legacy, hostile.hide_as_magic],
                         ids=["zip", "legacy", "magic"])
@pytest.mark.parametrize("kind", sorted(hostile.malicious_streams("true")))
def test_commands_in_pickles_are_inert(kind, hide, source, tmp_path, mountpoint, weightfs):
    canary = tmp_path / "canary"
    path = source / "model.pt"
    hide(path, hostile.malicious_streams(f"touch {shlex.quote(str(canary))}")[kind])
    for command in (["inspect", path], ["inspect", "--json", path], ["verify", path], ["export", path, tmp_path / "out"],
                    ["mount", path, mountpoint]):
        done = weightfs(*command, status=None)
        assert done.returncode in (0, 3), done.stderr
        assert not canary.exists(), command
    if done.returncode == 0:
        subprocess.run(["cp", "-r", mountpoint, tmp_path / "copy"], check=True)
        weightfs("umount", mountpoint)
    assert not canary.exists()


def test_the_canary_sings_in_a_real_unpickler(tmp_path):
    """The control: Python's own unpickler does run these."""
    sung = 0
    for kind, stream in hostile.malicious_streams(f"touch {shlex.quote(str(tmp_path / 'canary'))}").items():
        try:
            hostile.runs_in_python(stream)
        except Exception:  # noqa: BLE001 - a broken tail after the command, or no torch rebuild
            pass
        sung += (tmp_path / "canary").exists()
        (tmp_path / "canary").unlink(missing_ok=True)
    assert sung >= 8
