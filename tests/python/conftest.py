"""Fixtures. The binary is $WEIGHTFS_BIN, else that of the dev preset."""

import os
import random
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
sys.dont_write_bytecode = True

import pytest  # noqa: E402
import torch  # noqa: E402

import family_references  # noqa: E402
import mounting  # noqa: E402

SEED = int(os.environ.get("WEIGHTFS_TEST_SEED") or random.SystemRandom().randrange(1 << 32))


def pytest_report_header(config):
    return f"weightfs: {mounting.default_binary()}, WEIGHTFS_TEST_SEED={SEED}"


@pytest.fixture(scope="session")
def weightfs() -> mounting.Weightfs:
    binary = mounting.default_binary()
    assert os.access(binary, os.X_OK), f"{binary} is not there: build it, or set WEIGHTFS_BIN"
    assert os.path.exists("/dev/fuse"), "/dev/fuse is missing: this machine cannot mount"
    return mounting.Weightfs(binary)


@pytest.fixture
def rng() -> random.Random:
    """Seeded and logged: set WEIGHTFS_TEST_SEED to repeat a run."""
    print(f"WEIGHTFS_TEST_SEED={SEED}")
    return random.Random(SEED)


@pytest.fixture(autouse=True)
def fixed_torch_seed():
    torch.manual_seed(20240229)


@pytest.fixture
def mountpoint(tmp_path: Path) -> Path:
    path = tmp_path / "mnt"
    path.mkdir()
    return path


@pytest.fixture
def mount(weightfs, mountpoint):
    """`with mount(source, *options) as path`: mounts at this test's own mountpoint."""

    def mounted(source, *options):
        return weightfs.mount(Path(source), mountpoint, *options)

    return mounted


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """An empty folder for a source."""
    path = tmp_path / "source"
    path.mkdir()
    return path


@pytest.fixture(scope="session")
def references(tmp_path_factory) -> Path:
    """The checkpoints that the real software of model families writes, and what its converters make of them."""
    return family_references.make(tmp_path_factory.mktemp("references"))
