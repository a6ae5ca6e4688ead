"""Families are data: no name of one in the sources, and the page that teaches writing one is right."""

import json
import re
import subprocess
from pathlib import Path

import jsonschema
import pytest
import torch

import native_models
import oracle
from family_cases import INPUT_IDS, Random
from safetensors_files import parse

ROOT = Path(__file__).resolve().parents[2]
TABLES = sorted((ROOT / "convert" / "family" / "tables").glob("*.json"))
PAGE = (ROOT / "docs" / "families.md").read_text()


def test_no_source_names_a_family():
    """Outside tests, a family exists as a table alone."""
    names = {json.loads(path.read_text())["family"] for path in TABLES}
    assert len(names) > 10
    words = {word for name in names for word in name.split("-")} - {"build", "base", "wrapped", "lightning", "falcon", "native"}
    assert {"nanogpt", "llama", "mistral", "whisper", "litgpt", "torchtune", "nanochat", "llama2c", "cogvideox"} <= words
    # Words of other meanings count only as the family's whole name, short ones only as words.
    pattern = re.compile("|".join([*(rf"\b{word}\b" if len(word) < 6 else word for word in words), r"\bgpt2?\b",
                                   *(rf'"{name}"' for name in names)]), re.IGNORECASE)
    listed = subprocess.run(["git", "ls-files", "*.cc", "*.h", "*.cmake", "*CMakeLists.txt"], cwd=ROOT, check=True,
                            capture_output=True, text=True).stdout.split()
    sources = [path for path in listed if not path.startswith(("tests/", "bench/"))]
    assert len(sources) > 100
    found = [f"{path}:{number}: {line.strip()}" for path in sources
             for number, line in enumerate((ROOT / path).read_text().splitlines(), 1) if pattern.search(line)]
    assert found == []


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_tables_follow_the_published_schema(path):
    schema = json.loads((ROOT / "docs" / "family.schema.json").read_text())
    jsonschema.validate(json.loads(path.read_text()), schema)


def test_families_are_listed_with_their_evidence(weightfs):
    listed = weightfs("families").stdout
    for path in TABLES:
        table = json.loads(path.read_text())
        if table.get("abstract"):
            continue
        assert table["family"] in listed
        shown = weightfs("families", table["family"]).stdout
        assert table["detect"][0] in shown and table["title"] in re.sub(r"\s+", " ", shown)


# The worked example -----------------------------------------------------------------------------------------------------

WIDTH, DEPTH, HEADS, CONTEXT, VOCABULARY = 24, 2, 3, 16, 65


def example_table() -> str:
    (block,) = re.findall(r"## A worked example.*?```json\n(.*?)```", PAGE, re.DOTALL)
    return block


def example_state() -> dict[str, torch.Tensor]:
    """As the page describes it."""
    random = Random(77)
    state = {"net.embed": random.matrix(VOCABULARY, WIDTH), "net.position": random.matrix(CONTEXT, WIDTH)}
    for i in range(DEPTH):
        block = f"net.blocks.{i}"
        state[f"{block}.norms"] = torch.stack([torch.stack([random.norm(WIDTH), random.vector(WIDTH)]) for _ in "12"])
        state[f"{block}.kqv"] = random.matrix(3 * WIDTH, WIDTH)
        state[f"{block}.mix"] = random.matrix(WIDTH, WIDTH)
        state[f"{block}.up"] = random.matrix(4 * WIDTH, WIDTH)
        state[f"{block}.down"] = random.matrix(WIDTH, 4 * WIDTH)
    state["net.norm"] = torch.stack([random.norm(WIDTH), random.vector(WIDTH)])
    state["net.tokens_seen"] = torch.tensor(123456)
    return state


def example_served(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    h = WIDTH // HEADS
    served = {"transformer.wte.weight": state["net.embed"], "transformer.wpe.weight": state["net.position"]}
    for i in range(DEPTH):
        block, target = f"net.blocks.{i}", f"transformer.h.{i}"
        for index, name in enumerate(("ln_1", "ln_2")):
            served[f"{target}.{name}.weight"], served[f"{target}.{name}.bias"] = state[f"{block}.norms"][index]
        heads = state[f"{block}.kqv"].split(3 * h)
        key, query, value = (torch.cat([head[n * h:(n + 1) * h] for head in heads]) for n in range(3))
        weights = {"attn.c_attn": torch.cat([query, key, value]), "attn.c_proj": state[f"{block}.mix"],
                   "mlp.c_fc": state[f"{block}.up"], "mlp.c_proj": state[f"{block}.down"]}
        for name, weight in weights.items():
            served[f"{target}.{name}.weight"] = weight.t().contiguous()
            served[f"{target}.{name}.bias"] = torch.zeros(weight.shape[0])
    served["transformer.ln_f.weight"], served["transformer.ln_f.bias"] = state["net.norm"]
    return served


def test_worked_example(source, tmp_path, mount):
    import transformers

    state = example_state()
    hparams = {"width": WIDTH, "depth": DEPTH, "heads": HEADS, "context": CONTEXT}
    torch.save({"weights": state, "hparams": hparams}, source / "run.pt")
    rules = tmp_path / "lab.json"
    rules.write_text(example_table())
    expected = example_served(state)
    with mount(source / "run.pt", "--rules", rules) as mounted:
        served, _ = parse((mounted / "model.safetensors").read_bytes())
        assert served == parse(oracle.safetensors_bytes(expected))[0]
        model = transformers.GPT2LMHeadModel.from_pretrained(mounted).eval()
        with torch.no_grad():
            logits = model(INPUT_IDS).logits
        del model
    # The lab's model, by the names that its forward pass is written for.
    native = {name: tensor.t() if name.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight")) else tensor
              for name, tensor in expected.items()} | {"lm_head.weight": state["net.embed"]}
    assert (logits - native_models.gpt2(native, HEADS, INPUT_IDS, "none")).abs().max() <= 1e-5 * logits.abs().max()


def test_mistakes_that_the_page_names(source, tmp_path, weightfs):
    state = example_state() | {"net.blocks.0.up": torch.zeros(92, WIDTH)}
    hparams = {"width": WIDTH, "depth": DEPTH, "heads": HEADS, "context": CONTEXT}
    rules = tmp_path / "lab.json"
    rules.write_text(example_table())
    torch.save({"weights": state, "hparams": hparams}, source / "run.pt")
    message = weightfs("inspect", source / "run.pt", "--rules", rules, status=3).stderr
    assert all(word in message for word in ("blocks.0.up", "92", "96")), message
    state = example_state() | {"net.blocks.0.gate": torch.zeros(3)}
    torch.save({"weights": state, "hparams": hparams}, source / "run.pt")
    message = weightfs("inspect", source / "run.pt", "--rules", rules, status=3).stderr
    assert "blocks.0.gate" in message and "blocks.0.norms" in message, message
