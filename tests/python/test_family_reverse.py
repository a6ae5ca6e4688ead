"""Tables run backwards: the native checkpoint follows from the served one."""

import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import cogvideox_writer
import families_gpt  # noqa: F401 - registers its cases
import families_llama  # noqa: F401
from family_cases import CASES
from family_references import REFERENCES
from mounting import TIMEOUT_SECONDS, default_binary

ROOT = Path(__file__).resolve().parents[2]
INVERTING = [name for name, case in CASES.items() if case.inverts]


def reverse_tool() -> Path:
    return default_binary().parents[1] / "tests" / "support" / "weightfs_reverse"


def run_backwards(table: Path, served: Path, out: Path, *options: str, status: int = 0) -> subprocess.CompletedProcess:
    done = subprocess.run([reverse_tool(), table, served, out, *options], capture_output=True, text=True,
                          timeout=TIMEOUT_SECONDS)
    assert done.returncode == status, done.stdout + done.stderr
    return done


def native_parts(out: Path) -> list[dict[str, torch.Tensor]]:
    return [load_file(path) for path in sorted(out.glob("part.*.safetensors"))]


@pytest.mark.parametrize("name", INVERTING)
def test_round_trip(name, source, tmp_path, weightfs):
    case = CASES[name]
    written = case.write(source)
    weightfs("export", written.source, tmp_path / "served", *written.options)
    table = ROOT / "convert" / "family" / "tables" / f"{case.family}.json"
    options = [word for key, value in case.reverse_options.items() for word in ("--option", f"{key}={value}")]
    run_backwards(table, tmp_path / "served", tmp_path / "native", "--parts", str(written.parts), *options)
    parts = native_parts(tmp_path / "native")
    assert len(parts) == written.parts
    # Buffers that the model computes stay away; all else comes back. Of two ways to cut embeddings, by rows is taken.
    expected = {key: tensor for key, tensor in written.native.items()
                if not key.endswith((".attn.bias", ".mask", "rope.freqs"))}
    ranks = families_llama.rank_states(expected, written.parts, written.config["num_key_value_heads"], 0, False) if (
        written.parts > 1) else [expected]
    for part, rank in zip(parts, ranks, strict=True):
        assert sorted(part) == sorted(rank)
        assert [key for key, tensor in rank.items() if not torch.equal(part[key], tensor)] == []


PARTS = [name for name, case in cogvideox_writer.PARTS.items() if case.family == "cogvideox" and name != "sat_flat"]


@pytest.mark.parametrize("name", PARTS)
def test_round_trip_of_a_part(name, source, tmp_path, weightfs):
    written = cogvideox_writer.PARTS[name].write(source)
    weightfs("export", written.source, tmp_path / "served", *written.options)
    run_backwards(ROOT / "convert" / "family" / "tables" / "cogvideox.json", tmp_path / "served" / "transformer",
                  tmp_path / "native")
    (part,) = native_parts(tmp_path / "native")
    assert sorted(part) == sorted(written.native)
    assert [key for key, tensor in written.native.items() if not torch.equal(part[key], tensor)] == []


# A head that is missing where it is tied, and names and orders of older versions, do not come back as they were.
SOFTWARE = [name for name, case in REFERENCES.items()
            if case.family.startswith(("litgpt", "torchtune", "whisper")) and "legacy" not in name]


@pytest.mark.slow
@pytest.mark.parametrize("name", SOFTWARE)
def test_round_trip_of_the_software(name, references, tmp_path, weightfs):
    case = REFERENCES[name]
    source = references / name / "source" / case.source
    weightfs("export", source, tmp_path / "served")
    run_backwards(ROOT / "convert" / "family" / "tables" / f"{case.family}.json", tmp_path / "served",
                  tmp_path / "native")
    (part,) = native_parts(tmp_path / "native")
    (weights,) = [path for path in source.iterdir() if path.suffix in (".pth", ".bin")] if source.is_dir() else [source]
    expected = torch.load(weights, weights_only=False)
    for key in ("model", "model_state_dict"):
        expected = expected.get(key, expected)
    assert sorted(part) == sorted(expected)
    assert [key for key, tensor in expected.items() if not torch.equal(part[key], tensor)] == []


def test_a_cast_view_runs_backwards_in_its_own_dtype(source, tmp_path, weightfs):
    written = CASES["nanogpt"].write(source)
    weightfs("export", written.source, tmp_path / "served", "--dtype", "bf16")
    run_backwards(ROOT / "convert/family/tables/nanogpt.json", tmp_path / "served", tmp_path / "native")
    (part,) = native_parts(tmp_path / "native")
    assert all(torch.equal(part[key], tensor.bfloat16()) for key, tensor in written.native.items())


def test_what_does_not_invert_says_so(source, tmp_path, weightfs):
    """A mean of ranks has no way back."""
    table = tmp_path / "mean.json"
    table.write_text("""{"family": "mean", "title": "t", "source": "s", "target": "hf", "detect": ["has('w')"],
        "tensors": [{"to": "w", "from": "w", "do": "~ n*"}], "config": {"model_type": "none"}}""")
    torch.save({"w": torch.ones(3)}, source / "w.pt")
    weightfs("export", source / "w.pt", tmp_path / "served", "--rules", table)
    done = run_backwards(table, tmp_path / "served", tmp_path / "native", status=3)
    assert "~" in done.stderr or "mean" in done.stderr
