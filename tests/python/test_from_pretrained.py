"""Models loaded through a mount compute, bit for bit, what natively converted ones compute."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import oracle
import repositories

INPUT_IDS = torch.tensor([[1, 7, 42, 5, 299, 3], [9, 9, 0, 17, 250, 66]])
CASTS = [None, "f32", "bf16", "f16"]


def logits(model) -> torch.Tensor:
    inputs = {"input_ids": INPUT_IDS}
    if model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = INPUT_IDS.flip(1)
    with torch.no_grad():
        return model.eval()(**inputs).logits


def convert_natively(source: Path, target: Path, state: dict[str, torch.Tensor], dtype: str | None) -> Path:
    """What a user would do without a mount: the whole state dict, cast, saved as safetensors beside its config."""
    target.mkdir()
    for path in source.iterdir():
        if path.suffix != ".bin" and not path.name.endswith(".bin.index.json"):
            (target / path.name).write_bytes(path.read_bytes())
    if dtype is not None:
        state = oracle.cast(state, dtype)
        config = json.loads((target / "config.json").read_text())
        config.pop("torch_dtype", None)
        config["dtype"] = str(oracle.CAST_DTYPES[dtype]).removeprefix("torch.")
        (target / "config.json").write_text(json.dumps(config))
    save_file(oracle.materialize(state), target / "model.safetensors", metadata=oracle.METADATA)
    return target


@pytest.mark.parametrize("dtype", CASTS)
@pytest.mark.parametrize("kind", sorted(repositories.MODELS))
def test_logits_equal_native_conversion(kind, dtype, source, tmp_path, mount):
    state = repositories.make_repository(source, kind, parts=1 if kind == "gpt2" else 2)
    model_class = type(repositories.make_model(kind))
    native = model_class.from_pretrained(
        convert_natively(source, tmp_path / "native", state, dtype), dtype="auto")
    with mount(source, *(["--dtype", dtype] if dtype else [])) as mounted:
        model = model_class.from_pretrained(mounted, dtype="auto")
        assert model.dtype == native.dtype
        assert torch.equal(logits(model), logits(native))
        for name, tensor in native.state_dict().items():
            assert torch.equal(model.state_dict()[name], tensor), name
        del model


@pytest.mark.parametrize("kind", sorted(repositories.MODELS))
def test_logits_equal_torch_load(kind, source, mount):
    """Against the weights as torch.load reads them, no other loader between."""
    repositories.make_repository(source, kind)
    reference = repositories.make_model(kind)
    reference.load_state_dict(torch.load(source / "pytorch_model.bin", weights_only=True))
    with mount(source) as mounted:
        model = type(reference).from_pretrained(mounted)
        assert torch.equal(logits(model), logits(reference))
        del model


@pytest.mark.parametrize("stored", [torch.float16, torch.bfloat16])
def test_stored_dtype_is_kept_and_found(stored, source, mount):
    """dtype="auto" reads config.json; both keep what was stored."""
    name = str(stored).removeprefix("torch.")
    repositories.make_repository(source, "llama", stored, config_dtype=name)
    with mount(source) as mounted:
        assert (mounted / "config.json").read_bytes() == (source / "config.json").read_bytes()
        model = repositories.LlamaForCausalLM.from_pretrained(mounted, dtype="auto")
        assert model.dtype == stored
        del model
    with mount(source, "--dtype", "f32") as mounted:
        config = json.loads((mounted / "config.json").read_text())
        assert config["torch_dtype"] == "float32"
        model = repositories.LlamaForCausalLM.from_pretrained(mounted, dtype="auto")
        assert model.dtype == torch.float32
        del model


def test_sharded_view_loads(source, mount):
    state = repositories.make_repository(source, "llama")
    with mount(source, "--max-shard-size", "60KB") as mounted:
        assert len([name for name in os.listdir(mounted) if name.endswith(".safetensors")]) > 3
        model = repositories.LlamaForCausalLM.from_pretrained(mounted)
        assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in state.items())
        del model


def test_tokenizer_and_auto_classes_load(source, mount):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    repositories.make_repository(source, "gpt2")
    with mount(source) as mounted:
        tokenizer = AutoTokenizer.from_pretrained(mounted)
        model = AutoModelForCausalLM.from_pretrained(mounted)
        inputs = tokenizer("every byte is", return_tensors="pt", return_token_type_ids=False)
        tokens = model.generate(**inputs, max_new_tokens=5, do_sample=False)
        assert tokens.shape[1] > inputs.input_ids.shape[1]
        del model


@pytest.mark.slow
def test_another_process_loads(source, mount):
    """The mount is visible to processes that this one did not prepare."""
    repositories.make_repository(source, "llama")
    program = "import sys; from transformers import AutoModelForCausalLM as A; print(A.from_pretrained(sys.argv[1]).num_parameters())"
    with mount(source) as mounted:
        done = subprocess.run([sys.executable, "-c", program, mounted], capture_output=True, text=True, check=True,
                              timeout=120)
    assert int(done.stdout) == repositories.make_model("llama").num_parameters()
