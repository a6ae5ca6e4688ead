"""Saves of the real DeepSpeed, written on demand in its own environment and kept for the session."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import torch

WRITER = Path(__file__).with_name("deepspeed_writer.py")
TIMEOUT_SECONDS = 900
OLDER = "older-"  # Begins the names of cases that the older release writes.


def interpreter() -> Path:
    """The Python of tests/requirements/deepspeed.txt: $WEIGHTFS_DEEPSPEED_PYTHON, which tests/run.sh sets."""
    path = os.environ.get("WEIGHTFS_DEEPSPEED_PYTHON")
    assert path and os.access(path, os.X_OK), (
        "WEIGHTFS_DEEPSPEED_PYTHON names no Python: run tests/run.sh --only environments, which makes it"
    )
    return Path(path)


def older_release() -> Path:
    """The folder with the older release of DeepSpeed: $WEIGHTFS_DEEPSPEED_OLDER, which tests/run.sh sets."""
    path = os.environ.get("WEIGHTFS_DEEPSPEED_OLDER")
    assert path and os.path.isdir(path), (
        "WEIGHTFS_DEEPSPEED_OLDER names no folder: run tests/run.sh --only environments, which makes it"
    )
    return Path(path)


class Save:
    """One case of the writer: what DeepSpeed wrote, and what it and the run say is in it."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.root = folder / "save"

    def _load(self, name: str) -> dict[str, torch.Tensor]:
        return torch.load(self.folder / name, weights_only=True)

    @property
    def live(self) -> dict[str, torch.Tensor]:
        """Masters, and the rest of the model as it runs."""
        return self._load("live.pt")

    @property
    def module(self) -> dict[str, torch.Tensor]:
        return self._load("module.pt")

    @property
    def reference(self) -> dict[str, torch.Tensor]:
        """What zero_to_fp32 makes of the save."""
        return self._load("reference.pt")

    @property
    def refusal(self) -> str:
        """The words in which zero_to_fp32 refuses, or nothing."""
        path = self.folder / "reference.txt"
        return path.read_text() if path.exists() else ""

    def tag(self, name: str = "global_step2") -> Path:
        return self.root / name

    def copy(self, to: Path) -> Path:
        """A copy of the save to change."""
        shutil.copytree(self.root, to)
        return to


class Saves:
    def __init__(self, folder: Path):
        self.folder = folder

    def write(self, names) -> None:
        """Writes the cases that are not there in one run a release: importing DeepSpeed takes longer than a case."""
        missing = [name for name in names if not (self.folder / name / "module.pt").exists()]
        if not missing:
            return
        for name in missing:
            shutil.rmtree(self.folder / name, ignore_errors=True)
        older = [name for name in missing if name.startswith(OLDER)]
        self._run([name for name in missing if name not in older], {})
        # It counts the cores of a rank with a tool of its own, unless it is told how many ranks there are.
        # Its tool loads what torch allowed then. The files are its own.
        settings = {"LOCAL_SIZE": "4", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}
        self._run(older, settings | {"PYTHONPATH": str(older_release())} if older else {})

    def _run(self, names: list[str], environment: dict[str, str]) -> None:
        if not names:
            return
        done = subprocess.run(
            [interpreter(), WRITER, self.folder, *names],
            capture_output=True, text=True, timeout=TIMEOUT_SECONDS, env=os.environ | environment,
        )  # fmt: skip
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"

    def __getitem__(self, name: str) -> Save:
        self.write([name])
        return Save(self.folder / name)


def fresh_folder(base: Path) -> Path:
    """Where saves of this writer in this environment are kept: $WEIGHTFS_DEEPSPEED_SAVES between sessions, else `base`."""
    kept = os.environ.get("WEIGHTFS_DEEPSPEED_SAVES")
    if not kept:
        return base
    key = hashlib.sha256(WRITER.read_bytes() + str(interpreter()).encode()).hexdigest()[:12]
    folder = Path(kept) / key
    folder.mkdir(parents=True, exist_ok=True)
    return folder
