"""CogVideoX checkpoints of SAT and of diffusers' trainers, mounted: the bytes, the configuration and the folders that
diffusers itself would save, loaded by diffusers; and what is refused."""

import functools
import json
import os
import shutil
import subprocess
from pathlib import Path

import diffusers
import pytest
import torch
import transformers
from diffusers import AutoencoderKLCogVideoX, CogVideoXTransformer3DModel
from safetensors.torch import load_file, save_file

import cogvideox_writer as writer
import deepspeed_saves
from cogvideox_writer import VARIANTS

WEIGHTS = "diffusion_pytorch_model.safetensors"
# Each as much as it takes: the one that is 1920 wide has 64 million elements.
EACH = [pytest.param(name, marks=pytest.mark.slow if name in ("2b", "1.5") else ()) for name in VARIANTS]
SMALL = "5b"


@pytest.fixture(scope="session")
def releases(tmp_path_factory):
    """A release folder of each variant, and what diffusers saves of the same models; made when asked for."""
    root = tmp_path_factory.mktemp("cogvideox")

    @functools.cache
    def make(name: str) -> tuple[Path, Path]:
        writer.transformer(name).save_pretrained(root / name / "expected" / "transformer")
        writer.vae().save_pretrained(root / name / "expected" / "vae")
        return writer.write_release(root / name / "release", name), root / name / "expected"

    return make


@pytest.fixture(scope="session")
def base(tmp_path_factory) -> Path:
    """The parts of a pipeline that no SAT transformer holds: a small text encoder, a tokenizer."""
    folder = tmp_path_factory.mktemp("base")
    write_text_encoder(folder / "text_encoder")
    write_tokenizer(folder / "tokenizer")
    return folder


def write_text_encoder(folder: Path) -> None:
    torch.manual_seed(3)
    transformers.T5EncoderModel(transformers.T5Config(
        vocab_size=16, d_model=4096, d_kv=4, d_ff=8, num_layers=1, num_heads=2)).save_pretrained(folder)


def write_tokenizer(folder: Path) -> None:
    vocabulary = [(piece, -float(i)) for i, piece in enumerate(("<pad>", "</s>", "<unk>", "▁a", "▁cat", "s"))]
    transformers.T5Tokenizer(vocab=vocabulary, extra_ids=0).save_pretrained(folder)


def config_of(folder: Path) -> dict:
    config = json.loads((folder / "config.json").read_text())
    del config["_diffusers_version"]
    return config


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def load(kind, folder: Path, **options):
    """As a user does; nothing may be missing, left over or of another shape."""
    model, report = kind.from_pretrained(folder, output_loading_info=True, **options)
    assert not any(report.values()), report
    return model


def assert_same_state(model: torch.nn.Module, expected: dict[str, torch.Tensor]) -> None:
    state = model.state_dict()
    assert sorted(state) == sorted(expected)
    assert [name for name, tensor in expected.items() if not torch.equal(state[name], tensor)] == []


# What is served ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EACH)
def test_files_equal_those_that_diffusers_saves(name, releases, mount):
    """Weights byte for byte, configurations key by key: the scaling of the VAE included, which the transformer tells."""
    release, expected = releases(name)
    variant = VARIANTS[name]
    with mount(release) as mounted:
        for part in ("transformer", "vae"):
            assert (mounted / part / WEIGHTS).read_bytes() == (expected / part / WEIGHTS).read_bytes()
        assert config_of(mounted / "transformer") == config_of(expected / "transformer")
        vae = config_of(expected / "vae")
        vae |= {"scaling_factor": variant.scaling_factor, "invert_scale_latents": variant.inverts_latents,
                "sample_height": 480, "sample_width": 720}
        assert config_of(mounted / "vae") == vae
        assert not (mounted / "model_index.json").exists()


@pytest.mark.parametrize("name", EACH)
def test_from_pretrained(name, releases, mount):
    release, _ = releases(name)
    dtype = VARIANTS[name].dtype
    with mount(release) as mounted:
        model = load(CogVideoXTransformer3DModel, mounted, subfolder="transformer", dtype=dtype)
        assert_same_state(model, writer.served_state(name))
        assert {tensor.dtype for tensor in model.state_dict().values()} == {dtype}
        assert_same_state(load(AutoencoderKLCogVideoX, mounted / "vae"), writer.vae().state_dict())
        del model


@pytest.mark.parametrize("name, dtype, torch_dtype", [
    (SMALL, "f16", torch.float16), ("5b_i2v", "f32", torch.float32),
    # The table of positions is a buffer. diffusers keeps it in the type of the model, and so do we.
    pytest.param("5b_i2v", "f16", torch.float16, marks=pytest.mark.slow)])
def test_dtypes_are_those_of_diffusers(name, dtype, torch_dtype, releases, mount, tmp_path):
    release, expected = releases(name)
    for part, kind in (("transformer", CogVideoXTransformer3DModel), ("vae", AutoencoderKLCogVideoX)):
        kind.from_pretrained(expected / part, dtype=torch_dtype).save_pretrained(tmp_path / part)
    with mount(release, "--dtype", dtype) as mounted:
        for part in ("transformer", "vae"):
            assert (mounted / part / WEIGHTS).read_bytes() == (tmp_path / part / WEIGHTS).read_bytes()
            assert "torch_dtype" not in config_of(mounted / part)


def test_shards(releases, mount):
    release, _ = releases(SMALL)
    with mount(release / "transformer", "--max-shard-size", "2MB") as mounted:
        folder = mounted / "transformer"
        index = json.loads((folder / f"{WEIGHTS}.index.json").read_text())
        shards = sorted(set(index["weight_map"].values()))
        assert shards == [f"diffusion_pytorch_model-{i:05}-of-{len(shards):05}.safetensors"
                          for i in range(1, len(shards) + 1)]
        assert len(shards) > 2 and list(index["metadata"]) == ["total_size"]
        assert files_below(folder) == sorted([*shards, f"{WEIGHTS}.index.json", "config.json"])
        model = load(CogVideoXTransformer3DModel, folder, dtype=torch.bfloat16)
        assert_same_state(model, writer.served_state(SMALL))
        del model


# Where it lies ----------------------------------------------------------------------------------------------------------


def test_sources_of_a_transformer(releases, mount):
    release, expected = releases(SMALL)
    folder = release / "transformer"
    for source in (folder, folder / "1000", folder / "1000" / "mp_rank_00_model_states.pt"):
        with mount(source) as mounted:
            assert (mounted / "transformer" / WEIGHTS).read_bytes() == (expected / "transformer" / WEIGHTS).read_bytes()
            assert config_of(mounted / "transformer") == config_of(expected / "transformer")
            assert not (mounted / "1000").exists()


@pytest.mark.parametrize("model, scale, inverts", [(None, 1.15258426, False), ("5b", 0.7, False), ("1.5", 0.7, True)])
def test_sources_of_a_vae(model, scale, inverts, releases, mount, weightfs):
    """Alone it does not tell which model it is of; the message says how to."""
    release, expected = releases(SMALL)
    options = ("--family", f"cogvideox-vae:model={model}") if model else ()
    for source in (release / "vae", release / "vae" / "3d-vae.pt"):
        said = weightfs("inspect", source, *options).stdout
        assert ("cogvideox-vae:model=5b|1.5" in " ".join(said.split())) == (model is None)
        with mount(source, *options) as mounted:
            assert (mounted / "vae" / WEIGHTS).read_bytes() == (expected / "vae" / WEIGHTS).read_bytes()
            config = config_of(mounted / "vae")
            assert (config["scaling_factor"], config["invert_scale_latents"]) == (scale, inverts)
            assert load(AutoencoderKLCogVideoX, mounted / "vae").config.scaling_factor == scale


def test_folders_of_the_newer_release(source, mount, weightfs):
    writer.write_sat(source / "transformer_i2v", writer.sat_state(writer.served_state("1.5_i2v")))
    writer.write_vae(source / "vae" / "3d-vae.pt")
    with mount(source) as mounted:
        assert {path.name for path in mounted.iterdir()} == {"transformer", "vae"}
        assert config_of(mounted / "transformer")["ofs_embed_dim"] == 512
    # Beside each other they keep their names, and agree on the VAE.
    writer.write_sat(source / "transformer_t2v", writer.sat_state(writer.served_state("1.5")))
    assert "transformer_i2v/, transformer_t2v/" in " ".join(weightfs("inspect", source).stdout.split())
    with mount(source) as mounted:
        assert {path.name for path in mounted.iterdir()} == {"transformer_i2v", "transformer_t2v", "vae"}
        assert config_of(mounted / "transformer_t2v")["in_channels"] == 16
        assert config_of(mounted / "vae")["invert_scale_latents"]
    # One of them, and what lies beside it.
    write_text_encoder(source / "t5-v1_1-xxl")
    write_tokenizer(source / "t5-v1_1-xxl")
    with mount(source / "transformer_i2v", "--overlay", source) as mounted:
        assert config_of(mounted / "vae")["invert_scale_latents"]
        pipeline = diffusers.CogVideoXImageToVideoPipeline.from_pretrained(mounted, dtype=torch.bfloat16)
        assert pipeline.transformer.config.ofs_embed_dim == 512
        del pipeline


def test_options_of_one_model_of_a_release(source, mount):
    """What a user says of a family is for the models that it fits."""
    writer.write_release(source, "1.5_i2v")
    with mount(source, "--family", "cogvideox:sample_height=96:sample_width=170") as mounted:
        config = config_of(mounted / "transformer")
        assert (config["sample_height"], config["sample_width"], config["sample_frames"]) == (96, 170, 81)
        assert config_of(mounted / "vae")["invert_scale_latents"]
    with mount(source, "--family", "cogvideox-vae:model=2b") as mounted:
        assert config_of(mounted / "vae")["scaling_factor"] == 1.15258426
        assert config_of(mounted / "transformer")["ofs_embed_dim"] == 512


# Tensors, parameters and bytes of the published files.
RELEASED = {
    "2b": (736, 1693783872, "float16", {"num_layers": 30, "num_attention_heads": 30}),
    "5b": (1024, 5570283072, "bfloat16", {"num_layers": 42, "num_attention_heads": 48}),
    "5b_i2v": (1025, 5625087552, "bfloat16", {"num_layers": 42, "num_attention_heads": 48}),
    "1.5": (1024, 5570676352, "bfloat16", {"num_layers": 42, "num_attention_heads": 48}),
    "1.5_i2v": (1028, 5571594880, "bfloat16", {"num_layers": 42, "num_attention_heads": 48}),
}


@pytest.mark.parametrize("name", RELEASED)
def test_models_of_their_real_size(name, source, mount):
    """Shapes alone: a file with the header of a safetensors file and a hole for the rest."""
    count, parameters, dtype, sizes = RELEASED[name]
    with torch.device("meta"):
        model = CogVideoXTransformer3DModel(**VARIANTS[name].arguments | sizes)
    state = writer.sat_state({key: tensor.to(getattr(torch, dtype)) for key, tensor in model.state_dict().items()})
    write_hole(source / "transformer.safetensors", {writer.PREFIX + key: tensor for key, tensor in state.items()})
    with mount(source / "transformer.safetensors") as mounted:
        assert config_of(mounted / "transformer") == writer.config_of(model)
        header = read_header(mounted / "transformer" / WEIGHTS)
        size = (mounted / "transformer" / WEIGHTS).stat().st_size
    assert {key: tuple(entry["shape"]) for key, entry in header.items()} == {
        key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    assert len(header) == count
    assert max(entry["data_offsets"][1] for entry in header.values()) == 2 * parameters < size


def test_the_vae_of_its_real_size(source, mount):
    with torch.device("meta"):
        model = AutoencoderKLCogVideoX(latent_channels=16)  # all else is the default of the class
    state = {key: tensor.bfloat16() for key, tensor in model.state_dict().items()}
    write_hole(source / "vae.safetensors", writer.vae_state(state))
    with mount(source / "vae.safetensors") as mounted:
        assert config_of(mounted / "vae") == writer.config_of(model)
        header = read_header(mounted / "vae" / WEIGHTS)
    assert {key: tuple(entry["shape"]) for key, entry in header.items()} == {
        key: tuple(tensor.shape) for key, tensor in state.items()}


def write_hole(path: Path, state: dict[str, torch.Tensor]) -> None:
    header, end = {}, 0
    for name, tensor in state.items():
        begin, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": {torch.float16: "F16", torch.bfloat16: "BF16"}[tensor.dtype],
                        "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    os.truncate(path, 8 + len(text) + end)


def read_header(path: Path) -> dict:
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    del header["__metadata__"]
    return header


def test_tags(source, mount, mountpoint, weightfs):
    """`latest` names the plain weights; the averaged ones of the optimizer are a tag of their own."""
    state = writer.sat_state(writer.served_state(SMALL))
    averaged = {name: tensor + 1 for name, tensor in state.items()}
    writer.write_sat(source / "run", state)
    writer.write_sat(source / "ema", averaged, tag="1000-ema")
    shutil.move(source / "ema" / "1000-ema", source / "run" / "1000-ema")
    for options, expected in ((), state), (("--tag", "1000"), state), (("--tag", "1000-ema"), averaged):
        with mount(source / "run", *options) as mounted:
            served = load_file(mounted / "transformer" / WEIGHTS)
            assert torch.equal(served["proj_out.weight"], expected["mixins.final_layer.linear.weight"])
            del served
    assert "1000-ema" in weightfs("mount", source / "run", mountpoint, "--tag", "2000", status=2).stderr


# What fine-tunes hold besides ---------------------------------------------------------------------------------------------

EXTRA = {
    "the text encoder and the VAE": (
        {"conditioner.embedders.0.transformer.shared.weight": (5, 3), "first_stage_model.encoder.conv_in.conv.weight": (2, 2)},
        "served from a"),
    "word embeddings": ({writer.PREFIX + "transformer.word_embeddings.weight": (1, 128)}, "language model"),
    "position embeddings": ({writer.PREFIX + "transformer.position_embeddings.weight": (4, 128)}, "language model"),
    "token embeddings": ({writer.PREFIX + "mixins.x.embed_tokens.weight": (4, 128)}, "language model"),
    "rotary tables": ({writer.PREFIX + "mixins.pos_embed.freqs_sin": (4, 64),
                       writer.PREFIX + "mixins.pos_embed.freqs_cos": (4, 64)}, "rotary tables"),
    "other parts": ({"denoiser.sigmas": (1000,)}, "outside of model.diffusion_model"),
}


@pytest.mark.parametrize("kind", EXTRA)
def test_what_is_no_weight_of_the_transformer_is_left_out_and_listed(kind, source, releases, mount, weightfs):
    shapes, why = EXTRA[kind]
    writer.write_sat(source, writer.sat_state(writer.served_state(SMALL)),
                     extra={name: torch.ones(shape) for name, shape in shapes.items()})
    dropped = {entry["name"]: entry["rule"] for entry in weightfs.json("inspect", "--json", source)["dropped"]}
    assert set(dropped) == set(shapes) and all(why in rule for rule in dropped.values()), dropped
    with mount(source) as mounted:
        assert (mounted / "transformer" / WEIGHTS).read_bytes() == (
            releases(SMALL)[1] / "transformer" / WEIGHTS).read_bytes()


def test_a_state_dict_without_its_prefix(source, releases, mount):
    """As users write it who filtered the keys by hand."""
    torch.save(dict(writer.sat_state(writer.served_state(SMALL))), source / "filtered.pt")
    with mount(source / "filtered.pt") as mounted:
        assert (mounted / "transformer" / WEIGHTS).read_bytes() == (
            releases(SMALL)[1] / "transformer" / WEIGHTS).read_bytes()


def test_tensors_in_one_storage(source, releases, mount):
    writer.write_sat(source, writer.in_one_buffer(writer.sat_state(writer.served_state(SMALL))))
    with mount(source) as mounted:
        assert (mounted / "transformer" / WEIGHTS).read_bytes() == (
            releases(SMALL)[1] / "transformer" / WEIGHTS).read_bytes()


def test_a_lora_is_not_merged_and_the_message_says_so(source, releases, mount, weightfs):
    state = {}
    for name, tensor in writer.sat_state(writer.served_state(SMALL)).items():
        layer, dot, last = name.rpartition(".")
        if layer.endswith(("query_key_value", "attention.dense")):
            state[f"{layer}.original.{last}"] = tensor
            for i in range(3 if layer.endswith("value") else 1):
                state[f"{layer}.matrix_A.{i}"], state[f"{layer}.matrix_B.{i}"] = torch.ones(4, 128), torch.zeros(128, 4)
        else:
            state[name] = tensor
    writer.write_sat(source, state)
    said = weightfs("inspect", source).stdout
    assert "holds a LoRA that is not merged" in " ".join(said.split())
    with mount(source) as mounted:
        assert (mounted / "transformer" / WEIGHTS).read_bytes() == (
            releases(SMALL)[1] / "transformer" / WEIGHTS).read_bytes()


def test_a_patch_embedding_of_newer_code_in_an_older_model(source, releases, mount):
    """Saved again by the code of 1.5, the convolution of 1.0 is a matrix."""
    state = writer.sat_state(writer.served_state(SMALL))
    state["mixins.patch_embed.proj.weight"] = state["mixins.patch_embed.proj.weight"].flatten(1)
    writer.write_sat(source, state)
    with mount(source) as mounted:
        assert (mounted / "transformer" / WEIGHTS).read_bytes() == (
            releases(SMALL)[1] / "transformer" / WEIGHTS).read_bytes()


@pytest.mark.slow
def test_a_table_of_sines_in_the_smallest_model(source, releases, mount, weightfs):
    """diffusers computes it and would take a stored one for an unknown tensor."""
    state = writer.sat_state(writer.served_state("2b"))
    writer.write_sat(source, state | {"mixins.pos_embed.pos_embedding": torch.ones(1, 300, 1920)})
    assert "pos_embedding is left out" in " ".join(weightfs("inspect", source).stdout.split())
    with mount(source) as mounted:
        assert (mounted / "transformer" / WEIGHTS).read_bytes() == (
            releases("2b")[1] / "transformer" / WEIGHTS).read_bytes()


def test_sizes_that_a_table_of_positions_was_trained_for(source, mount, weightfs):
    model = CogVideoXTransformer3DModel(**VARIANTS["5b_i2v"].arguments | {
        "num_layers": 1, "sample_height": 8, "sample_width": 12, "sample_frames": 9})
    writer.write_sat(source, writer.sat_state(model.state_dict()))
    options = "--family", "cogvideox:sample_height=8:sample_width=12:sample_frames=9"
    assert "sample_height" in weightfs("inspect", source, status=3).stderr
    with mount(source, *options) as mounted:
        assert_same_state(load(CogVideoXTransformer3DModel, mounted / "transformer"), model.state_dict())


# Pipelines --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EACH)
def test_a_pipeline_with_an_overlay(name, releases, base, mount):
    release, _ = releases(name)
    variant = VARIANTS[name]
    with mount(release, "--overlay", base) as mounted:
        index = json.loads((mounted / "model_index.json").read_text())
        assert index["_class_name"] == variant.pipeline
        pipeline = getattr(diffusers, variant.pipeline).from_pretrained(mounted, dtype=variant.dtype)
        assert pipeline.scheduler.config.snr_shift_scale == variant.snr_shift_scale
        assert pipeline.vae.config.scaling_factor == variant.scaling_factor
        assert_same_state(pipeline.transformer, writer.served_state(name))
        expected = load_file(base / "text_encoder" / "model.safetensors")
        assert torch.equal(pipeline.text_encoder.state_dict()["shared.weight"].float(),
                           expected["shared.weight"].to(variant.dtype).float())
        assert pipeline.tokenizer("a cats").input_ids == [3, 4, 5, 1]
        del pipeline


def test_a_pipeline_generates_what_the_original_generates(releases, base, mount):
    release, expected = releases(SMALL)
    arguments = {"prompt": "a cat", "height": 16, "width": 16, "num_frames": 9, "num_inference_steps": 2,
                 "guidance_scale": 1.0, "output_type": "latent", "max_sequence_length": 8}
    with mount(release, "--overlay", base) as mounted:
        pipeline = diffusers.CogVideoXPipeline.from_pretrained(mounted, dtype=torch.float32)
        pipeline.set_progress_bar_config(disable=True)
        served = pipeline(generator=torch.Generator().manual_seed(1), **arguments).frames
        original = diffusers.CogVideoXPipeline(
            pipeline.tokenizer, pipeline.text_encoder, AutoencoderKLCogVideoX.from_pretrained(expected / "vae"),
            CogVideoXTransformer3DModel.from_pretrained(expected / "transformer"), pipeline.scheduler)
        original.set_progress_bar_config(disable=True)
        assert torch.equal(served, original(generator=torch.Generator().manual_seed(1), **arguments).frames)
        assert served.isfinite().all() and served.abs().max() > 0
        del pipeline, original


def test_the_scheduler_is_that_of_the_published_conversion(releases, base, mount):
    """All of its values: what diffusers writes for the arguments that its converter gives."""
    release, _ = releases(SMALL)
    scheduler = diffusers.CogVideoXDDIMScheduler(
        snr_shift_scale=1.0, beta_end=0.012, beta_schedule="scaled_linear", beta_start=0.00085, clip_sample=False,
        num_train_timesteps=1000, prediction_type="v_prediction", rescale_betas_zero_snr=True, set_alpha_to_one=True,
        timestep_spacing="trailing")
    with mount(release, "--overlay", base) as mounted:
        served = json.loads((mounted / "scheduler" / "scheduler_config.json").read_text())
    expected = json.loads(scheduler.to_json_string())
    assert {key: value for key, value in served.items() if key != "_diffusers_version"} == {
        key: value for key, value in expected.items() if key not in ("_diffusers_version", "trained_betas")}


def test_the_text_encoder_of_a_release(source, mount):
    """A release has T5 in one folder, in the layout of Hugging Face: it is text encoder and tokenizer."""
    writer.write_release(source, SMALL)
    write_text_encoder(source / "t5-v1_1-xxl")
    write_tokenizer(source / "t5-v1_1-xxl")
    with mount(source) as mounted:
        assert {path.name for path in mounted.iterdir()} == {
            "model_index.json", "scheduler", "text_encoder", "tokenizer", "transformer", "vae"}
        assert not {"config.json", "model.safetensors"} & set(files_below(mounted / "tokenizer"))
        pipeline = diffusers.CogVideoXPipeline.from_pretrained(mounted, dtype=torch.bfloat16)
        assert pipeline.tokenizer("a cats").input_ids == [3, 4, 5, 1]
        del pipeline


def test_a_fine_tune_over_a_base_pipeline(source, releases, base, mount):
    """The folder of the run holds the transformer alone; all else is of the pipeline that it was tuned from."""
    release, expected = releases(SMALL)
    writer.write_sat(source / "run", {name: tensor + 1 for name, tensor in
                                      writer.sat_state(writer.served_state(SMALL)).items()})
    shutil.copytree(base, source / "base")
    shutil.copytree(expected, source / "base", dirs_exist_ok=True)
    (source / "base" / "model_index.json").write_text(json.dumps({"_class_name": "CogVideoXPipeline", **{
        key: value for key, value in (
            ("scheduler", ["diffusers", "CogVideoXDPMScheduler"]), ("text_encoder", ["transformers", "T5EncoderModel"]),
            ("tokenizer", ["transformers", "T5Tokenizer"]), ("vae", ["diffusers", "AutoencoderKLCogVideoX"]),
            ("transformer", ["diffusers", "CogVideoXTransformer3DModel"]))}}))
    with mount(source / "run", "--overlay", source / "base") as mounted:
        pipeline = diffusers.CogVideoXPipeline.from_pretrained(mounted, dtype=torch.bfloat16)
        assert isinstance(pipeline.scheduler, diffusers.CogVideoXDPMScheduler)  # the overlay's word
        served = pipeline.transformer.state_dict()["proj_out.weight"]
        assert torch.equal(served, writer.served_state(SMALL)["proj_out.weight"] + 1)
        assert_same_state(pipeline.vae, {name: tensor.bfloat16() for name, tensor in writer.vae().state_dict().items()})
        del pipeline, served


def test_a_release_as_the_base_of_a_fine_tune(source, releases, mount):
    """The overlay may be in SAT's layout too."""
    release, expected = releases("5b_i2v")
    shutil.copytree(release / "vae", source / "base" / "vae")
    write_text_encoder(source / "base" / "t5-v1_1-xxl")
    write_tokenizer(source / "base" / "t5-v1_1-xxl")
    with mount(release / "transformer", "--overlay", source / "base") as mounted:
        assert (mounted / "vae" / WEIGHTS).read_bytes() == (expected / "vae" / WEIGHTS).read_bytes()
        assert config_of(mounted / "vae")["scaling_factor"] == 0.7
        pipeline = diffusers.CogVideoXImageToVideoPipeline.from_pretrained(mounted, dtype=torch.bfloat16)
        del pipeline


# Refusals ---------------------------------------------------------------------------------------------------------------


def without(name):
    return lambda state: state.pop(name)


def of_shape(name, *shape):
    return lambda state: state.update({name: torch.zeros(shape)})


def table(*shape):
    return of_shape("mixins.pos_embed.pos_embedding", *shape)


REFUSED = {
    "a missing bias": (SMALL, without("mixins.patch_embed.proj.bias"), ["mixins.patch_embed.proj.bias"]),
    "a missing modulation": (SMALL, without("mixins.adaln_layer.adaLN_modulations.1.1.weight"), ["adaLN_modulations.1.1"]),
    "a missing norm of heads": (SMALL, without("mixins.adaln_layer.key_layernorm_list.1.bias"), ["key_layernorm_list.1"]),
    "a missing layer": (SMALL, without("transformer.layers.0.input_layernorm.weight"), ["layers.0.input_layernorm"]),
    "an unknown tensor": (SMALL, of_shape("mixins.control.gate.weight", 3), ["mixins.control.gate.weight"]),
    "a third layer in part": (SMALL, of_shape("transformer.layers.2.attention.dense.bias", 128), ["layers.2.attention.dense"]),
    "narrow queries": (SMALL, of_shape("transformer.layers.0.attention.query_key_value.weight", 256, 128), ["256", "384"]),
    "a turned matrix": (SMALL, of_shape("transformer.layers.1.mlp.dense_h_to_4h.weight", 128, 512), ["dense_h_to_4h", "512"]),
    "eleven chunks": (SMALL, of_shape("mixins.adaln_layer.adaLN_modulations.0.1.weight", 1408, 512), ["1408", "1536"]),
    "another time embedding": (SMALL, of_shape("time_embed.0.weight", 512, 64), ["time_embed.0.weight", "64"]),
    "another last layer": (SMALL, of_shape("mixins.final_layer.linear.weight", 96, 128), ["R is 96"]),
    "heads of another size": (SMALL, lambda state: [state.update({name: torch.ones(48)}) for name in list(state)
                                                    if "_layernorm_list" in name], ["heads divide the width"]),
    "a table in a model of another size": ("5b_i2v", table(1, 500, 128), ["table_rows is 500", "17776"]),
    "a table in 1.5": ("1.5_i2v", table(1, 17776, 128), ["rotary positions and no table"]),
    "a convolution in 1.5": ("1.5_i2v", of_shape("mixins.patch_embed.proj.weight", 128, 32, 2, 2), ["linear patch"]),
    "an offset in text-to-video": (SMALL, lambda state: state.update(
        {f"ofs_embed.{i}.{w}": torch.ones((512, 512) if w == "weight" else 512) for i in (0, 2) for w in ("weight", "bias")}),
        ["ofs"]),
    "no offset in 1.5": ("1.5_i2v", lambda state: [state.pop(name) for name in list(state) if name.startswith("ofs")], ["ofs"]),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_checkpoints_that_contradict_themselves(kind, source, mountpoint, weightfs):
    name, change, words = REFUSED[kind]
    state = writer.sat_state(writer.served_state(name))
    change(state)
    writer.write_sat(source, state)
    message = weightfs("mount", source, mountpoint, status=3).stderr
    assert [word for word in words if word not in message] == [], message


def test_a_matrix_under_two_names(source, weightfs):
    state = writer.sat_state(writer.served_state(SMALL))
    state["transformer.layers.0.attention.dense.original.weight"] = torch.zeros(128, 128)
    writer.write_sat(source, state)
    message = weightfs("inspect", source, "--family", "cogvideox", status=3).stderr
    assert "attention.dense.original.weight" in message and "attention.dense.weight" in message, message


def test_model_parallel_saves_are_refused(source, weightfs):
    state = writer.sat_state(writer.served_state(SMALL))
    writer.write_sat(source, state, parallel=2)
    message = weightfs("inspect", source, status=3).stderr
    assert "model-parallel" in message and "model_parallel_size" in message, message
    # Without model_config.json, the number of files tells.
    (source / "model_config.json").unlink()
    first = source / "1000" / "mp_rank_00_model_states.pt"
    shutil.copy(first, first.with_name("mp_rank_01_model_states.pt"))
    assert "model-parallel" in weightfs("inspect", source, status=3).stderr


VAE_REFUSED = {
    "a missing convolution": (without("decoder.mid.block_1.norm1.conv_y.conv.weight"), ["conv_y"]),
    "a missing level": (lambda state: [state.pop(name) for name in list(state) if name.startswith("decoder.up.3.")],
                        ["levels"]),
    "a missing block": (lambda state: [state.pop(name) for name in list(state) if name.startswith("decoder.up.0.block.2.")],
                        ["one block more"]),
    "an unknown tensor": (of_shape("quant_conv.weight", 3), ["quant_conv.weight"]),
    "a narrow shortcut": (of_shape("encoder.down.1.block.0.nin_shortcut.weight", 64, 48, 1, 1, 1), ["48", "32"]),
    "a flat convolution": (of_shape("encoder.conv_out.conv.weight", 32, 96, 3, 3), ["encoder.conv_out"]),
    "another width at the end": (of_shape("decoder.up.0.block.0.conv1.conv.weight", 48, 64, 3, 3, 3), ["same channels"]),
}


@pytest.mark.parametrize("kind", VAE_REFUSED)
def test_vaes_that_contradict_themselves(kind, source, mountpoint, weightfs):
    change, words = VAE_REFUSED[kind]
    state = writer.vae_state(writer.vae().state_dict())
    change(state)
    torch.save({"state_dict": state}, source / "3d-vae.pt")
    message = weightfs("mount", source, mountpoint, status=3).stderr
    assert [word for word in words if word not in message] == [], message


def test_groups_that_no_vae_tells(source, mount, weightfs):
    small = AutoencoderKLCogVideoX(block_out_channels=(8, 8, 16, 16), layers_per_block=1, norm_num_groups=4)
    torch.save({"state_dict": writer.vae_state(small.state_dict())}, source / "3d-vae.pt")
    assert "norm_num_groups=N" in weightfs("inspect", source, status=3).stderr
    with mount(source, "--family", "cogvideox-vae:norm_num_groups=4") as mounted:
        assert_same_state(load(AutoencoderKLCogVideoX, mounted / "vae"), small.state_dict())


def test_what_zero_to_fp32_wrote_beside_a_configuration(source, releases, mount):
    """pytorch_model.bin is no name that diffusers looks for."""
    _, expected = releases(SMALL)
    torch.save(writer.served_state(SMALL), source / "pytorch_model.bin")
    shutil.copy(expected / "transformer" / "config.json", source)
    with mount(source) as mounted:
        assert files_below(mounted) == ["config.json", WEIGHTS]
        assert_same_state(load(CogVideoXTransformer3DModel, mounted, dtype=torch.bfloat16), writer.served_state(SMALL))


# Written by DeepSpeed ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def deepspeed(tmp_path_factory) -> Path:
    """Saves of the real engine: as SAT has it save, and as Accelerate does, of a model of diffusers."""
    folder = tmp_path_factory.mktemp("deepspeed")
    served = writer.served_state(SMALL)
    named = {writer.PREFIX + name: tensor for name, tensor in writer.sat_state(served).items()}
    for name, state in (("sat", named), ("diffusers", served)):
        save_file({key: tensor.contiguous() for key, tensor in state.items()}, folder / f"{name}.safetensors")
    jobs = [{"state": str(folder / "sat.safetensors"), "save": str(folder / f"sat-{stage}"), "tag": "1000", "stage": stage,
             "world": 1, "by": "sat"} for stage in (0, 2)]
    jobs += [{"state": str(folder / f"{names}.safetensors"), "save": str(folder / f"{save}-{stage}"), "tag": tag,
              "stage": stage, "world": 2, "by": "engine"} for stage in (2, 3)
             for names, save, tag in (("diffusers", "zero", "pytorch_model"), ("sat", "whole", "1000"))]
    (folder / "jobs.json").write_text(json.dumps(jobs))
    done = subprocess.run([deepspeed_saves.interpreter(), Path(__file__).with_name("deepspeed_named.py"),
                           folder / "jobs.json"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("stage", [0, 2])
def test_saves_of_sat_through_deepspeed(stage, deepspeed, releases, mount):
    """No optimizer files lie beside the module, which is then what is served."""
    with mount(deepspeed / f"sat-{stage}") as mounted:
        assert (mounted / "transformer" / WEIGHTS).read_bytes() == (
            releases(SMALL)[1] / "transformer" / WEIGHTS).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("stage", [2, 3])
def test_whole_saves_under_the_names_of_sat(stage, deepspeed, releases, mount):
    """With the optimizer's files, the masters are served, cut and joined from the partitions of all ranks."""
    expected = (releases(SMALL)[1] / "transformer" / WEIGHTS).read_bytes()
    with mount(deepspeed / f"whole-{stage}") as mounted:
        state = {name: tensor.float() for name, tensor in writer.served_state(SMALL).items()}
        assert_same_state(load(CogVideoXTransformer3DModel, mounted / "transformer"), state)
    with mount(deepspeed / f"whole-{stage}", "--dtype", "bf16") as mounted:
        assert (mounted / "transformer" / WEIGHTS).read_bytes() == expected
    if stage == 2:
        with mount(deepspeed / f"whole-{stage}", "--weights", "module") as mounted:
            assert (mounted / "transformer" / WEIGHTS).read_bytes() == expected


@pytest.mark.slow
def test_the_lora_beside_a_save(deepspeed, source, mount, weightfs):
    """The LoRA trainers of diffusers write it beside the engine's save, which holds the frozen model too."""
    shutil.copytree(deepspeed / "zero-2", source, dirs_exist_ok=True)
    lora = {"transformer.transformer_blocks.0.attn1.to_q.lora_A.weight": torch.ones(4, 128)}
    save_file(lora, source / "pytorch_lora_weights.safetensors")
    assert "--weights master" in " ".join(weightfs("inspect", source).stdout.split())
    with mount(source) as mounted:
        assert load_file(mounted / "pytorch_lora_weights.safetensors").keys() == lora.keys()
        assert not (mounted / "transformer").exists()
    with mount(source, "--weights", "master") as mounted:
        assert (mounted / "transformer" / WEIGHTS).exists()


def test_a_part_of_an_overlay_that_is_damaged(source, releases, base, tmp_path, mountpoint, weightfs):
    overlay = Path(shutil.copytree(base, tmp_path / "overlay"))
    (overlay / "text_encoder" / "model.safetensors").unlink()
    (overlay / "text_encoder" / "model.safetensors.index.json").write_text(json.dumps(
        {"metadata": {}, "weight_map": {"shared.weight": "model-00001-of-00002.safetensors"}}))
    message = weightfs("mount", releases(SMALL)[0], mountpoint, "--overlay", overlay, status=3).stderr
    assert "model-00001-of-00002.safetensors" in message, message


@pytest.mark.slow
@pytest.mark.parametrize("stage", [2, 3])
@pytest.mark.parametrize("given", ["nothing", "config", "beside", "overlay", "pipeline"])
def test_fine_tunes_of_diffusers(stage, given, deepspeed, releases, base, mount, tmp_path):
    """The names are those of diffusers already: masters in float32, under the file names that its loader looks for."""
    release, expected = releases(SMALL)
    source = deepspeed / f"zero-{stage}"
    config = expected / "transformer" / "config.json"
    options, folder = (), "."
    if given == "nothing":
        folder = "transformer"  # the shapes tell which model it is
    elif given == "config":
        options = ("--config", config)
    elif given == "beside":
        source = Path(shutil.copytree(source, tmp_path / "checkpoint-500"))
        shutil.copy(config, source)
    elif given == "overlay":
        (tmp_path / "overlay").mkdir()
        shutil.copy(config, tmp_path / "overlay")
        options = ("--overlay", tmp_path / "overlay")
    else:
        shutil.copytree(base, tmp_path / "pipeline")
        shutil.copytree(expected / "vae", tmp_path / "pipeline" / "vae")
        options, folder = ("--overlay", tmp_path / "pipeline"), "transformer"
    state = {name: tensor.float() for name, tensor in writer.served_state(SMALL).items()}
    with mount(source, *options) as mounted:
        assert_same_state(load(CogVideoXTransformer3DModel, mounted / folder), state)
        assert config_of(mounted / folder).items() >= config_of(expected / "transformer").items()
    with mount(source, *options, "--dtype", "bf16") as mounted:
        assert (mounted / folder / WEIGHTS).read_bytes() == (expected / "transformer" / WEIGHTS).read_bytes()
        if given == "pipeline":
            pipeline = diffusers.CogVideoXPipeline.from_pretrained(mounted, dtype=torch.bfloat16)
            del pipeline
