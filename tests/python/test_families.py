"""Checkpoints of model families, mounted: the bytes, the configuration and the logits of what they must become."""

import json

import pytest
import torch
import transformers

import families_gpt  # noqa: F401 - registers its cases
import families_llama  # noqa: F401
import families_olmo  # noqa: F401
import families_wrapped  # noqa: F401
import family_references
import oracle
from family_cases import ABSENT, CASES, INPUT_IDS
from family_references import REFERENCES
from safetensors_files import Entry, parse

# The older line of transformers has no class for it: its checkpoints are served all the same, and loaded by the newer.
LOADED_BY_5_ALONE = "nanochat"
KNOWS_ALL = transformers.__version__.startswith("5.")

CASE_NAMES = [pytest.param(name, marks=() if name in ("nanogpt", "llama_2_grouped", "mistral", "wrapped_fsdp")
                           else pytest.mark.slow) for name in CASES]
LOADED = [param for param in CASE_NAMES
          if KNOWS_ALL or CASES[param.values[0]].family != LOADED_BY_5_ALONE]


def test_the_older_line_lacks_one_class_alone():
    families = {"gpt2", "llama", "mistral", "mixtral", "whisper", "gemma3_text", "qwen3_moe", "olmo2", "phi3",
                LOADED_BY_5_ALONE}
    missing = families - set(transformers.CONFIG_MAPPING)
    assert missing == (set() if KNOWS_ALL else {LOADED_BY_5_ALONE})


def entries(tensors) -> dict[str, Entry]:
    return parse(oracle.safetensors_bytes(tensors))[0]


def assert_tensors(served: dict[str, Entry], expected: dict[str, Entry]) -> None:
    assert sorted(served) == sorted(expected)
    wrong = [name for name, entry in expected.items() if served[name] != entry]
    assert not wrong, f"{len(wrong)} tensors differ: {wrong[:6]}"


def assert_logits(actual: torch.Tensor, native: torch.Tensor) -> None:
    """Equal but for the order of additions: 1e-5 of the largest."""
    largest = native.abs().max()
    assert largest > 0.01, "logits that are all nearly zero compare nothing"
    difference = (actual - native).abs().max() / largest
    assert difference <= 1e-5, f"logits differ by {difference:.2e} of the largest"


def load_model(folder, attention: str = "sdpa"):
    """As a user does, by the class that config.json names; nothing may be missing, left over or of another shape."""
    name = json.loads((folder / "config.json").read_text())["architectures"][0]
    model, report = getattr(transformers, name).from_pretrained(
        folder, dtype=torch.float32, attn_implementation=attention, output_loading_info=True)
    assert not any(report.values()), report
    return model.eval()


@pytest.mark.parametrize("name", CASE_NAMES)
def test_served_tensors_and_configuration(name, source, mount, weightfs):
    written = CASES[name].write(source)
    with mount(written.source, *written.options) as mounted:
        served, metadata = parse((mounted / "model.safetensors").read_bytes())
        config = json.loads((mounted / "config.json").read_text())
    assert metadata == oracle.METADATA
    assert_tensors(served, entries(written.tensors))
    for key, value in written.config.items():
        if value is not ABSENT:
            assert config.get(key, ABSENT) == value, key
        elif "--config" not in written.options:
            assert key not in config


@pytest.mark.parametrize("name", CASE_NAMES)
def test_family_is_found_by_evidence(name, source, weightfs):
    written = CASES[name].write(source)
    options = [option for option in written.options if not option.startswith("--trim")]
    report = weightfs.json("inspect", "--json", written.source, *options)
    assert report["family"] == CASES[name].family
    assert report["family_evidence"]


@pytest.mark.parametrize("name", LOADED)
def test_logits_of_the_original_model(name, source, mount):
    written = CASES[name].write(source)
    with torch.no_grad():
        native = written.logits(INPUT_IDS)
    with mount(written.source, *written.options) as mounted:
        model = load_model(mounted)
        with torch.no_grad():
            assert_logits(model(INPUT_IDS).logits, native)
        del model


# Checkpoints of the real software, and its converters -------------------------------------------------------------------


@pytest.fixture
def reference(request, references):
    return references / request.param, REFERENCES[request.param]


each_reference = pytest.mark.parametrize("reference", [pytest.param(name, marks=pytest.mark.slow) for name in REFERENCES],
                                         indirect=True)


def options_of(folder, case) -> tuple[str, ...]:
    config = () if case.has_config or case.family == "torchtune" else ("--config", str(folder / "config.json"))
    return case.options + config


@pytest.mark.slow
def test_all_that_the_software_makes_is_tested(references):
    assert {path.name for path in references.iterdir()} == set(REFERENCES)


@each_reference
def test_tensors_equal_those_of_the_converter(reference, mount):
    folder, case = reference
    expected = family_references.converted(folder, case)
    with mount(folder / "source" / case.source, *options_of(folder, case)) as mounted:
        served, _ = parse((mounted / "model.safetensors").read_bytes())
        config = json.loads((mounted / "config.json").read_text())
    if expected is None:
        assert (folder / "logits.safetensors").exists()  # the next test has it
        return
    if config.get("tie_word_embeddings") and case.has_config:
        # Converters write a tied head again, under the name of the module; it is the embedding.
        expected = {name: tensor for name, tensor in expected.items()
                    if name not in ("lm_head.weight", "embed_out.weight", "proj_out.weight")}
    if case.cast is not None:
        raw = {name: torch.frombuffer(bytearray(entry.data), dtype=DTYPES[entry.dtype]).view(entry.shape)
               for name, entry in served.items()}
        served = entries({name: tensor.to(case.cast) for name, tensor in raw.items()})
    assert_tensors(served, entries(expected))


DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


@each_reference
def test_logits_equal_those_of_the_software(reference, mount):
    folder, case = reference
    native = family_references.native_logits(folder)
    if native is None:
        assert case.family in ("llama", "mistral")  # their logits are native_models', in the tests above
        return
    with mount(folder / "source" / case.source, *options_of(folder, case)) as mounted:
        model = load_model(mounted, case.attention)
        with torch.no_grad():
            assert_logits(model(**native[0]).logits, native[1])
        del model


# What a converter writes otherwise, and why.
CONFIG_DIFFERENCES = {
    # Says float16 whatever it stores.
    "llama": {"dtype", "torch_dtype"},
    "mistral": set(),
    # The tokens of a vocabulary of 51865 are those of 51866, which the converter does not know.
    "whisper": set(),
}
WITH_CONVERTED_CONFIG = [name for name, case in REFERENCES.items() if case.family in CONFIG_DIFFERENCES]


@pytest.mark.parametrize("reference", [pytest.param(name, marks=pytest.mark.slow) for name in WITH_CONVERTED_CONFIG],
                         indirect=True)
def test_configuration_equals_that_of_the_converter(reference, mount):
    """Key by key, once transformers has read both and filled in its defaults."""
    folder, case = reference
    with mount(folder / "source" / case.source, *case.options) as mounted:
        ours = transformers.AutoConfig.from_pretrained(mounted).to_dict()
        generation = mounted / "generation_config.json"
        our_generation = json.loads(generation.read_text()) if generation.exists() else None
    theirs = transformers.AutoConfig.from_pretrained(folder).to_dict()
    ignored = {"_name_or_path", "transformers_version"} | CONFIG_DIFFERENCES[case.family]
    different = {key: (ours.get(key), theirs.get(key)) for key in (ours.keys() | theirs.keys()) - ignored
                 if ours.get(key) != theirs.get(key)}
    assert different == {}
    if our_generation is not None:
        theirs = json.loads((folder / "generation_config.json").read_text())
        assert our_generation == {key: value for key, value in theirs.items()
                                  if key not in ("transformers_version", "_from_model_config")}


# Repositories that are no family's --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_repositories_of_hugging_face_are_no_family(kind, source, mount, weightfs):
    import repositories

    state = repositories.make_repository(source, kind)
    for path in (source, source / "pytorch_model.bin"):
        assert weightfs.json("inspect", "--json", path)["family"] in ("identity", "none")
    with mount(source) as mounted:
        assert_tensors(parse((mounted / "model.safetensors").read_bytes())[0], entries(state))


def test_family_none_changes_no_name(source, mount):
    written = CASES["nanogpt_without_biases"].write(source)
    with mount(written.source, "--family", "none") as mounted:
        served, _ = parse((mounted / "model.safetensors").read_bytes())
        assert not (mounted / "config.json").exists()
    assert all(name.startswith("_orig_mod.") for name in served)
