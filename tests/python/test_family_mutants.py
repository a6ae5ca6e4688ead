"""A test of the tests: tables with one slip each, on the checkpoints of the family tests. Every mutant must be seen, by
a refusal, in the bytes or in the configuration; one that none of the checkpoints sees is a gap in them, and is named."""

import collections
import concurrent.futures
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

import cogvideox_writer
import families_gpt  # noqa: F401 - registers its cases
import families_llama  # noqa: F401
import families_olmo  # noqa: F401
import oracle
from family_cases import ABSENT, CASES
from family_references import REFERENCES
from mutants import config_mutants, mutants
from safetensors_files import parse

pytestmark = pytest.mark.slow

TABLES = Path(__file__).resolve().parents[2] / "convert" / "family" / "tables"

# Cases of the language models, and of the parts of pipelines.
ALL = CASES | cogvideox_writer.PARTS

# Small checkpoints first: most mutants fall at the first.
CHECKPOINTS = {
    "nanogpt": ["nanogpt_first_era", "nanogpt_without_biases", "nanogpt", "nanogpt_square", "nanogpt_trimmed_head"],
    "nanochat": ["nanochat", "nanochat_trimmed"],
    "llama": ["llama_2_grouped", "llama_in_one_file", "llama_2_shared_table", "llama_small_vocabulary",
              "llama_copied_heads", "llama_31"],
    "mistral": ["mistral", "mistral_experts", "mistral_ranks"],
    "olmo1": ["olmo1_grouped", "olmo1", "olmo1_separate"],
    "olmo2-classic": ["olmo2_classic_grouped", "olmo2_classic", "olmo2_classic_separate"],
    **{family: [name for name, reference in REFERENCES.items() if reference.family == family]
       for family in ("litgpt", "litgpt-gemma", "litgpt-neox", "litgpt-falcon", "litgpt-phi", "torchtune", "whisper")},
    **{family: [name for name, case in cogvideox_writer.PARTS.items() if case.family == family]
       for family in ("cogvideox", "cogvideox-native", "cogvideox-vae")},
}

# Families of one table, and the configuration that their writers expect.
CONFIGURED = ["nanogpt", "build-nanogpt", "nanochat", "llama", "llama2c", "mistral", "olmo1", "olmo2-classic",
              "cogvideox", "cogvideox-native", "cogvideox-vae"]


@dataclass
class Checkpoint:
    name: str
    source: Path
    options: tuple[str, ...]
    expected: dict[str, tuple]


def digests(report: dict) -> dict[str, tuple]:
    return {tensor["name"]: (tensor["dtype"], tuple(tensor["shape"]), tensor["sha256"]) for tensor in report["tensors"]}


def digests_of(tensors) -> dict[str, tuple]:
    return {name: (entry.dtype, entry.shape, hashlib.sha256(entry.data).hexdigest())
            for name, entry in parse(oracle.safetensors_bytes(tensors))[0].items()}


def forced(options: tuple[str, ...], family: str) -> tuple[str, ...]:
    return options if "--family" in options else (*options, "--family", family)


def prepare(family: str, folder: Path, references: Path, weightfs) -> list[Checkpoint]:
    checkpoints = []
    for name in CHECKPOINTS[family]:
        if name in ALL:
            (folder / name).mkdir()
            written = ALL[name].write(folder / name)
            checkpoints.append(Checkpoint(name, written.source, forced(written.options, family),
                                          digests_of(written.tensors)))
            continue
        case = REFERENCES[name]
        source = references / name / "source" / case.source
        options = forced(case.options, family)
        # What the converter, or the model's logits, have shown to be right (test_families.py).
        report = weightfs.json("verify", "--json", source, *options)
        checkpoints.append(Checkpoint(name, source, options, digests(report)))
    return checkpoints


def relatives(family: str) -> dict[str, dict]:
    """The table, and those that it extends."""
    table = json.loads((TABLES / f"{family}.json").read_text())
    return {family: table} | (relatives(table["extends"]) if "extends" in table else {})


def rules_of(family: str, mutate):
    """Every mutant of the table, as a rules file. The lines of an abstract base are mutated as part of each table that
    extends it; those of another family by its own checkpoints."""
    tables = relatives(family)
    for name, table in tables.items():
        if name != family and not table.get("abstract"):
            continue
        for mutant in mutate(table):
            yield mutant, {"families": [mutant.table if other == name else tables[other] for other in tables]}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("family", CHECKPOINTS)
def test_every_slip_is_seen(family, tmp_path, references, weightfs):
    checkpoints = prepare(family, tmp_path, references, weightfs)
    for checkpoint in checkpoints:
        report = weightfs.json("verify", "--json", checkpoint.source, *checkpoint.options)
        assert digests(report) == checkpoint.expected, checkpoint.name

    def judge(numbered) -> str:
        number, (_, rules) = numbered
        path = tmp_path / f"mutant-{number}.json"
        path.write_text(json.dumps(rules))
        for checkpoint in checkpoints:
            done = weightfs("verify", "--json", checkpoint.source, "--rules", path, *checkpoint.options, status=None)
            assert done.returncode in (0, 2, 3), done.stderr
            if done.returncode != 0:
                return "refused"
            if digests(json.loads(done.stdout)) != checkpoint.expected:
                return "seen in the bytes"
        return "no difference"

    everything = list(rules_of(family, mutants))
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        verdicts = list(pool.map(judge, enumerate(everything)))
    counts = collections.Counter((mutant.kind, verdict) for (mutant, _), verdict in zip(everything, verdicts))
    print(f"{family}: {len(everything)} mutants; " + ", ".join(
        f"{kind} {verdict}: {count}" for (kind, verdict), count in sorted(counts.items())))
    unseen = [f"{mutant.kind}: {mutant.where}" for (mutant, _), verdict in zip(everything, verdicts)
              if verdict == "no difference"]
    assert unseen == []
    assert everything


@pytest.mark.parametrize("family", CONFIGURED)
def test_exchanged_values_of_the_configuration_are_seen(family, tmp_path, weightfs):
    names = [name for name, case in ALL.items() if case.family == family]
    written = []
    for name in names:
        (tmp_path / name).mkdir()
        written.append(ALL[name].write(tmp_path / name))
    unseen = []
    for number, (mutant, rules) in enumerate(rules_of(family, config_mutants)):
        path = tmp_path / f"mutant-{number}.json"
        path.write_text(json.dumps(rules))
        for index, checkpoint in enumerate(written):
            out = tmp_path / f"out-{number}-{index}"
            done = weightfs("export", checkpoint.source, out, "--rules", path, *forced(checkpoint.options, family),
                            status=None)
            if done.returncode != 0:
                break
            (path,) = out.rglob("config.json")
            config = json.loads(path.read_text())
            if any(config.get(key, ABSENT) != value for key, value in checkpoint.config.items()):
                break
        else:
            unseen.append(mutant.where)
    assert unseen == []
