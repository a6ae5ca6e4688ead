"""Many readers at once, through mappings and reads, while others look around (design: section 7, "Faults")."""

import hashlib
import mmap
import os
import random
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

import checkpoints
import oracle
from mounting import is_mountpoint
from reading import PAGE, drop_cached

THREADS = 64


def write_model(folder: Path) -> tuple[Path, dict[str, torch.Tensor]]:
    """About 24 MB: plain, transposed and deep strided tensors."""
    generator = torch.Generator().manual_seed(23)
    tensors = {f"layers.{i}.weight": torch.randn(512, 1024, generator=generator).half() for i in range(16)}
    tensors["turned"] = torch.randn(1024, 768, generator=generator).t()
    tensors["inner"] = torch.randn(64, 32, 48, generator=generator).permute(2, 0, 1)
    return checkpoints.saved(folder / "model.pt", tensors)


@pytest.mark.parametrize("options", [[], ["--dtype", "f32"]], ids=["keep", "f32"])
def test_sixty_four_threads_read_while_another_lists(options, source, mount, rng):
    path, tensors = write_model(source)
    data = oracle.safetensors_bytes(oracle.cast(tensors, "f32") if options else tensors)
    seeds = [rng.randrange(1 << 30) for _ in range(THREADS)]
    done = threading.Event()

    def read(seed: int) -> int:
        own = random.Random(seed)
        with open(file, "rb") as handle, mmap.mmap(handle.fileno(), 0, prot=mmap.PROT_READ) as mapping:
            for _ in range(40):
                offset = own.randrange(len(data))
                length = own.choice([1, 100, PAGE, 70_000, 400_000])
                got = (mapping[offset:offset + length] if seed % 2 else os.pread(handle.fileno(), length, offset))
                assert got == data[offset:offset + length], (offset, length)
                if own.random() < 0.1:
                    drop_cached(handle.fileno())
        return 1

    def look_around() -> int:
        rounds = 0
        while not done.is_set():
            assert os.listdir(mounted) == ["model.safetensors"]
            assert file.stat().st_size == len(data)
            assert len(os.listdir(mounted / ".weightfs" / "tensors")) == len(tensors)
            (mounted / ".weightfs" / "status.json").read_bytes()
            rounds += 1
        return rounds

    with mount(path, *options) as mounted:
        file = mounted / "model.safetensors"
        with ThreadPoolExecutor(THREADS + 1) as pool:
            looking = pool.submit(look_around)
            readers = [pool.submit(read, seed) for seed in seeds]
            try:
                assert sum(reader.result(timeout=120) for reader in readers) == THREADS
            finally:
                done.set()
            assert looking.result(timeout=30) > 0


PAGE_STORM = """
import mmap, sys, threading, random
path, seed = sys.argv[1], int(sys.argv[2])
file = open(path, "rb")
mapping = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
pages = list(range(0, len(mapping), 4096))
def touch(n):
    mine = pages[:]; random.Random(seed + n).shuffle(mine)
    for page in mine[:2000]: mapping[page]
threads = [threading.Thread(target=touch, args=(n,)) for n in range(64)]
[t.start() for t in threads]; [t.join() for t in threads]
import hashlib; print(hashlib.sha256(mapping).hexdigest())
"""


@pytest.mark.slow
def test_page_fault_storm(source, mount, rng):
    """64 threads fault single pages of one mapping in random order, in a process of their own."""
    path, tensors = write_model(source)
    with mount(path, "--dtype", "f32") as mounted:
        done = subprocess.run([sys.executable, "-c", PAGE_STORM, mounted / "model.safetensors", str(rng.randrange(1000))],
                              capture_output=True, text=True, timeout=150, check=True)
    assert done.stdout.strip() == hashlib.sha256(oracle.safetensors_bytes(oracle.cast(tensors, "f32"))).hexdigest()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL], ids=lambda s: s.name)
def test_unmount_under_load(how, source, mountpoint, weightfs):
    """Readers that are cut off get an error, never other bytes, and nothing hangs."""
    path, tensors = write_model(source)
    data = oracle.safetensors_bytes(tensors)
    file = mountpoint / "model.safetensors"
    wrong, started = [], threading.Barrier(9)

    def read() -> None:
        started.wait()
        while True:
            try:
                with open(file, "rb") as handle:
                    drop_cached(handle.fileno())
                    offset = random.randrange(len(data))
                    # The kernel answers with what it has when the mount ends in the middle of a read.
                    got = os.pread(handle.fileno(), 300_000, offset)
                    if got != data[offset:offset + len(got)]:
                        wrong.append(offset)
            except OSError:
                return  # the mount is gone: not connected, or no such file

    with weightfs.mount_in_front(path, mountpoint) as daemon:
        threads = [threading.Thread(target=read, daemon=True) for _ in range(8)]
        for thread in threads:
            thread.start()
        started.wait()
        time.sleep(0.3)
        daemon.send_signal(how)
        daemon.wait(timeout=20)
        for thread in threads:
            thread.join(timeout=20)
        assert not any(thread.is_alive() for thread in threads)
        assert not wrong
        assert is_mountpoint(mountpoint) == (how == signal.SIGKILL)
