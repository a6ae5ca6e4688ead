"""Saves that the real DeepSpeed wrote, against its own converters and against the run that wrote them."""

import gc
import json
import shutil
import subprocess

import pytest
import torch
from safetensors import safe_open

import deepspeed_saves

DTYPES = ("fp32", "bf16", "fp16")
MATRIX = [f"zero{stage}-{dtype}-w{world}" for stage in (1, 2, 3) for dtype in DTYPES for world in (1, 2, 3, 4)]
QUICK = ["zero1-bf16-w3", "zero2-fp16-w2", "zero3-bf16-w3"]
VARIANTS = [
    "zero2-round-robin-w4", "zero1-round-robin-w3", "zero1-aligned-w3", "zero2-aligned-w2", "zero2-elastic-w2",
    "zero3-sub-groups-w2", "zero3-init-w3", "zero2-untied-w2", "zero2-sgd-w2",
]  # fmt: skip
MOE = ["moe-ep1-zero2-w2", "moe-ep2-zero1-w4", "moe-ep2-zero2-w2", "moe-data-first-w4"]
PIPELINES = ["pipe-zero1-w4", "pipe-tied-zero1-w2", "pipe-mix-zero1-w2"]
ACCELERATE = ["accelerate-zero2-w2", "accelerate-zero3-w3"]
OLDER = ["older-zero1-fp32-w2", "older-zero2-bf16-w3", "older-zero3-bf16-w2", "older-zero3-sub-groups-w2"]
FROZEN = {"adapter.weight", "norm.weight"}

CASES = [
    pytest.param(name, id=name, marks=[] if name in QUICK else pytest.mark.slow)
    for name in MATRIX + VARIANTS + ACCELERATE
]


pytestmark = pytest.mark.timeout(900)  # The first test waits for all saves.


@pytest.fixture(scope="session")
def saves(request, tmp_path_factory):
    """Every save that a test of this session names, written at once."""
    wanted = []
    for item in request.session.items:
        if "saves" in getattr(item, "fixturenames", ()):
            if hasattr(item, "callspec") and "case" in item.callspec.params:
                wanted.append(item.callspec.params["case"])
            wanted += [name for mark in item.iter_markers("saves") for name in mark.args]
    store = deepspeed_saves.Saves(deepspeed_saves.fresh_folder(tmp_path_factory.mktemp("deepspeed")))
    store.write(dict.fromkeys(wanted))
    return store


@pytest.fixture
def serve(weightfs, tmp_path):
    """What a mount of `source` would serve, as tensors."""

    def served(source, *options) -> dict[str, torch.Tensor]:
        folder = tmp_path / f"served{len(list(tmp_path.iterdir()))}"
        weightfs("export", source, folder, *options)
        with safe_open(folder / "model.safetensors", "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}

    return served


def bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous().view(-1).view(torch.uint8)


def check_equal(served: dict, expected: dict, names=None):
    names = expected.keys() if names is None else names
    assert served.keys() == set(names)
    for name in names:
        assert served[name].dtype == expected[name].dtype, name
        assert served[name].shape == expected[name].shape, name
        assert torch.equal(bits(served[name]), bits(expected[name])), name


def check_same_values(masters: dict, module: dict):
    """The masters, rounded, are the copies that the run uses."""
    for name, copy in module.items():
        assert torch.equal(masters[name].to(copy.dtype), copy), name


@pytest.mark.parametrize("case", CASES)
def test_masters_are_those_of_zero_to_fp32(case, saves, serve):
    save = saves[case]
    served = serve(save.root)
    expected = save.reference
    if case.startswith("zero1") and not case.endswith("untied"):
        # zero_to_fp32 drops what ZeRO-1 froze; it is in `module`, and in the run.
        assert not FROZEN & expected.keys()
        expected |= {name: save.module[name] for name in FROZEN}
    check_equal(served, expected)
    if "round-robin" not in case:  # The run's own accessor answers wrongly there.
        trained = {name for name in served if name not in FROZEN and served[name].dtype == torch.float32}
        for name in trained - {"batch.running_mean", "batch.running_var"}:
            assert torch.equal(served[name], save.live[name].reshape(served[name].shape)), name


@pytest.mark.slow
@pytest.mark.parametrize("case", OLDER)
def test_saves_of_an_older_release(case, saves, serve):
    save = saves[case]
    served = serve(save.root)
    expected = save.reference
    if "zero1" in case:
        expected |= {name: save.module[name] for name in FROZEN}
    # That release's tool makes floats of numbers and flags too; today's keeps their types, as we do.
    for name in ("position_ids", "mask", "batch.num_batches_tracked"):
        assert expected[name].dtype == torch.float32
        expected[name] = expected[name].to(served[name].dtype)
        assert not served[name].is_floating_point(), name
    check_equal(served, expected)


@pytest.mark.slow
@pytest.mark.saves("older-zero1-bf16-optimizer-w3")
def test_the_bf16_optimizer_of_an_older_release(saves, serve):
    save = saves["older-zero1-bf16-optimizer-w3"]
    served = serve(save.root)
    assert served.keys() == save.module.keys()
    # That release makes 16-bit buffers; floating buffers are served as float32, as zero_to_fp32 does.
    expected = {name: tensor.float() if name.startswith("batch.running") else tensor for name, tensor in save.live.items()}
    check_equal(served, expected, served)


@pytest.mark.slow
@pytest.mark.saves("older-moe-ep2-zero2-w2")
def test_experts_of_an_older_release_are_those_of_the_module(saves, serve, weightfs):
    save = saves["older-moe-ep2-zero2-w2"]
    check_equal(serve(save.root), save.module)
    assert any("no param_shapes" in note for note in weightfs.json("inspect", "--json", save.root)["notes"])


@pytest.mark.slow
@pytest.mark.saves("accelerate-zero3-w3", "zero3-bf16-w3")
def test_float32_is_the_directory_export(saves, serve, tmp_path):
    def export(save, output):
        tool = [deepspeed_saves.interpreter(), save.root / "zero_to_fp32.py", save.root, output, "--safe_serialization"]
        return subprocess.run(
            tool, capture_output=True, text=True, timeout=300, env={"DS_ACCELERATOR": "cpu", "PATH": "/usr/bin:/bin"}
        )

    save = saves["accelerate-zero3-w3"]
    done = export(save, tmp_path / "exported")
    assert done.returncode == 0, done.stderr
    with safe_open(tmp_path / "exported" / "model.safetensors", "pt") as file:
        expected = {name: file.get_tensor(name) for name in file.keys()}
    assert expected["norm.weight"].dtype == torch.float32 and save.reference["norm.weight"].dtype == torch.bfloat16
    check_equal(serve(save.root, "--dtype", "f32"), expected)
    # Tied names are more than the tool can write; here they are served, by test_masters_are_those_of_zero_to_fp32.
    assert "share memory" in export(saves["zero3-bf16-w3"], tmp_path / "tied").stderr


@pytest.mark.parametrize("case", ["zero1-bf16-w3", "zero2-fp16-w2", "zero2-round-robin-w4", "zero2-aligned-w2"])
@pytest.mark.slow
def test_the_module_is_the_copy_that_runs(case, saves, serve):
    save = saves[case]
    module = serve(save.root, "--weights", "module")
    check_equal(module, save.module)
    check_same_values(serve(save.root), module)


@pytest.mark.saves("zero3-bf16-w3")
def test_a_cast_is_done_on_gathered_partitions(saves, serve):
    save = saves["zero3-bf16-w3"]
    masters = serve(save.root)
    for option, dtype in (("bf16", torch.bfloat16), ("f16", torch.float16), ("f32", torch.float32)):
        cast = {n: t.to(dtype) if t.is_floating_point() else t for n, t in masters.items()}
        check_equal(serve(save.root, "--dtype", option), cast)


@pytest.mark.slow
@pytest.mark.saves("zero1-bf16-optimizer-w3")
def test_bf16_optimizer(saves, serve):
    save = saves["zero1-bf16-optimizer-w3"]
    assert "is not a zero checkpoint" in save.refusal
    served = serve(save.root)
    check_equal(served, {name: tensor for name, tensor in save.live.items() if name in served}, served)
    assert served.keys() == save.module.keys()
    check_same_values(served, save.module)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["zero0-fp32-w2", "zero0-fp16-w1"])
def test_stage_0_has_only_the_module(case, saves, serve):
    save = saves[case]
    assert "NoneType" in save.refusal
    check_equal(serve(save.root), save.module)


@pytest.mark.slow
@pytest.mark.saves("zero2-legacy-w2")
def test_files_that_are_no_zip(saves, serve):
    save = saves["zero2-legacy-w2"]
    assert save.refusal
    served = serve(save.root)
    check_same_values(served, save.module)
    assert served.keys() == save.module.keys()
    assert torch.equal(served["embed.weight"], save.live["embed.weight"])


@pytest.mark.slow
@pytest.mark.parametrize("case", MOE)
def test_experts(case, saves, serve):
    save = saves[case]
    assert "is not a model state checkpoint" in save.refusal
    served = serve(save.root)
    assert served.keys() == save.live.keys()
    experts = [name for name in served if ".deepspeed_experts.3." in name]
    assert experts
    for name, tensor in save.live.items():
        assert torch.equal(served[name], tensor), name
    check_equal(serve(save.root, "--weights", "module"), save.module)
    check_same_values(served, save.module)


@pytest.mark.slow
@pytest.mark.saves("moe-ep2-zero0-w2")
def test_experts_without_zero(saves, serve):
    save = saves["moe-ep2-zero0-w2"]
    check_equal(serve(save.root), save.module)


@pytest.mark.slow
@pytest.mark.parametrize("case", PIPELINES)
def test_pipelines(case, saves, serve):
    save = saves[case]
    assert "NoneType" in save.refusal
    served = serve(save.root)
    assert served.keys() == save.live.keys()
    for name, tensor in save.live.items():
        assert torch.equal(served[name], tensor), name
    assert served["2.factor"].dtype == torch.float32
    module = serve(save.root, "--weights", "module")
    check_equal(module, save.module)
    check_same_values(served, module)


@pytest.mark.slow
@pytest.mark.saves("pipe-zero0-w2")
def test_pipeline_without_zero(saves, serve):
    save = saves["pipe-zero0-w2"]
    check_equal(serve(save.root), save.module)


# Folders -----------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.saves("zero2-saves-w2")
def test_latest_tag_and_tag_folder(saves, serve, weightfs):
    save = saves["zero2-saves-w2"]
    latest = serve(save.root)
    check_equal(latest, save.reference)
    check_equal(serve(save.tag("global_step3")), latest)
    check_equal(serve(save.root, "--tag", "global_step3"), latest)
    earlier = serve(save.root, "--tag", "global_step2")
    assert not torch.equal(earlier["embed.weight"], latest["embed.weight"])
    done = weightfs("inspect", save.root, "--tag", "global_step9", status=2)
    assert "global_step2, global_step3" in done.stderr


@pytest.mark.slow
@pytest.mark.saves("zero2-saves-w2")
def test_several_saves_without_latest(saves, weightfs, tmp_path):
    root = saves["zero2-saves-w2"].copy(tmp_path / "root")
    (root / "latest").unlink()
    done = weightfs("inspect", root, status=2)
    assert "several saves" in done.stderr and "global_step2, global_step3" in done.stderr and "--tag" in done.stderr
    weightfs("inspect", root, "--tag", "global_step2")


@pytest.mark.parametrize("case", ["zero2-saves-w2", "zero3-saves-w2"])
@pytest.mark.slow
def test_ranks_of_two_saves_are_refused(case, saves, weightfs, tmp_path):
    root = saves[case].copy(tmp_path / "root")
    for path in (root / "global_step2").glob("*zero_pp_rank_1_*"):
        shutil.copy(path, root / "global_step3" / path.name)
    done = weightfs("inspect", root, status=3)
    assert "files of different saves" in done.stderr


@pytest.mark.saves("zero3-bf16-w3")
def test_missing_ranks(saves, weightfs, serve, tmp_path):
    save = saves["zero3-bf16-w3"]
    root = save.copy(tmp_path / "root")
    tag, away = root / "global_step2", tmp_path / "away" / "global_step2"
    away.mkdir(parents=True)
    gone = sorted(path.name for path in tag.glob("*zero_pp_rank_1_*"))
    assert len(gone) == 2
    for name in gone:
        shutil.move(tag / name, away / name)
    done = weightfs("inspect", root, status=3)
    for name in gone:
        assert name in done.stderr
    assert "--also" in done.stderr and "--partial" in done.stderr
    # What the other node has is joined, given as its root or as the tag folder.
    for also in (away.parent, away):
        check_equal(serve(root, "--also", also), save.reference)
    partial = serve(root, "--partial")
    assert partial and partial.keys() < save.reference.keys()
    check_equal(partial, {name: save.reference[name] for name in partial})


@pytest.mark.saves("zero2-fp16-w2")
def test_missing_ranks_of_zero_2(saves, weightfs, serve, tmp_path):
    save = saves["zero2-fp16-w2"]
    root = save.copy(tmp_path / "root")
    (gone,) = (root / "global_step2").glob("*zero_pp_rank_1_*")
    gone.unlink()
    done = weightfs("inspect", root, status=3)
    assert gone.name in done.stderr and "--weights module" in done.stderr
    check_equal(serve(root, "--weights", "module"), save.module)
    partial = serve(root, "--partial")
    check_equal(partial, {name: save.reference[name] for name in partial})
    assert "embed.weight" in partial and partial.keys() < save.reference.keys()
    for path in (root / "global_step2").glob("*optim_states.pt"):
        path.unlink()
    assert any("no optimizer files" in note for note in weightfs.json("inspect", "--json", root)["notes"])
    check_equal(serve(root), save.module)


@pytest.mark.saves("zero2-fp16-w2")
def test_a_run_with_more_ranks_left_files(saves, weightfs, tmp_path):
    root = saves["zero2-fp16-w2"].copy(tmp_path / "root")
    (last,) = (root / "global_step2").glob("*zero_pp_rank_1_*")
    shutil.copy(last, last.with_name(last.name.replace("rank_1_mp", "rank_2_mp")))
    done = weightfs("inspect", root, status=3)
    assert "data rank 2; expected 0 to 1" in done.stderr


@pytest.mark.saves("zero2-fp16-w2", "zero3-bf16-w3")
def test_rank_files_alone(saves, weightfs, serve):
    save = saves["zero2-fp16-w2"]
    check_equal(serve(save.tag() / "mp_rank_00_model_states.pt"), save.module)
    (optimizer,) = save.tag().glob("*zero_pp_rank_0_*")
    done = weightfs("inspect", optimizer, status=3)
    assert f"mount the folder: {save.tag()}" in done.stderr
    states = saves["zero3-bf16-w3"].tag() / "zero_pp_rank_0_mp_rank_00_model_states.pt"
    assert "mount the folder" in weightfs("inspect", states, status=3).stderr


@pytest.mark.saves("zero3-bf16-w3")
def test_zero_3_has_no_module(saves, weightfs):
    done = weightfs("inspect", saves["zero3-bf16-w3"].root, "--weights", "module", status=2)
    assert "placeholders" in done.stderr


@pytest.mark.saves("zero2-fp16-w2")
def test_candidates_are_listed(saves, weightfs):
    report = weightfs.json("inspect", "--json", saves["zero2-fp16-w2"].root)
    (weights,) = report["sets"]
    assert weights["format"] == "deepspeed"
    assert [(c["path"], c["chosen"]) for c in weights["candidates"]] == [("master", True), ("module", False)]


@pytest.mark.saves("zero2-fp16-w2")
def test_files_beside_a_save(saves, weightfs, serve, tmp_path):
    """As the Trainer leaves them: 16-bit weight files, a config.json that describes them, and the save."""
    from safetensors.torch import save_file

    save = saves["zero2-fp16-w2"]
    root = save.copy(tmp_path / "checkpoint-2")
    files = {name: torch.zeros(2, dtype=torch.float16) for name in ("a", "b")}
    save_file(files, root / "model.safetensors", metadata={"format": "pt"})
    (root / "config.json").write_text('{"model_type": "llama", "dtype": "float16"}')
    check_equal(serve(root), save.reference)
    assert any("--weights files" in note for note in weightfs.json("inspect", "--json", root)["notes"])
    folder = tmp_path / "exported"
    weightfs("export", root, folder)
    # The masters are float32, whatever the file says of the 16-bit weights.
    assert json.loads((folder / "config.json").read_text()) == {"model_type": "llama", "dtype": "float32"}
    check_equal(serve(root, "--weights", "files"), files)
    check_equal(serve(root, "--weights", "module"), save.module)
    # A tag folder has the metadata of the folder above.
    folder = tmp_path / "tag"
    weightfs("export", root / "global_step2", folder)
    assert (folder / "config.json").exists()
    for path in (root / "global_step2").glob("*rank_1_*"):
        path.unlink()
    check_equal(serve(root), files)
    assert any("missing" in note for note in weightfs.json("inspect", "--json", root)["notes"])
    weightfs("inspect", root, "--weights", "master", status=3)


# Universal checkpoints -----------------------------------------------------------------------------------------------------


def make_universal(tag, output):
    subprocess.run(
        [deepspeed_saves.interpreter(), "-m", "deepspeed.checkpoint.ds_to_universal", "--input_folder", tag,
         "--output_folder", output, "--inject_missing_state", "--num_extract_workers", "1", "--num_merge_workers", "1"],
        check=True, capture_output=True, timeout=300, env={"DS_ACCELERATOR": "cpu", "PATH": "/usr/bin:/bin"},
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("case", ["zero1-bf16-w3", "zero2-fp16-w2", "zero3-bf16-w3"])
def test_universal(case, saves, serve, tmp_path):
    save = saves[case]
    make_universal(save.tag(), tmp_path / "root" / "universal")
    served = serve(tmp_path / "root" / "universal")
    # The tool writes the 16-bit copy of a tied name; ours shares what it is tied to.
    check_equal(served, serve(save.root))
    assert torch.equal(served["head.weight"], served["embed.weight"])


@pytest.mark.slow
@pytest.mark.saves("zero2-round-robin-w4")
def test_universal_of_round_robin_gradients_is_permuted(saves, weightfs, serve, tmp_path):
    save = saves["zero2-round-robin-w4"]
    make_universal(save.tag(), tmp_path / "root" / "universal")
    done = weightfs("inspect", tmp_path / "root", status=3)
    assert "round_robin_gradients" in done.stderr
    check_equal(serve(tmp_path / "root", "--weights", "module"), save.module)


# The Trainer ---------------------------------------------------------------------------------------------------------------


def load(path, **options):
    """A loaded model as values of its own: dtype, state, logits. Nothing keeps the mount busy after."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(path, **options).eval()
    with torch.no_grad():
        logits = model(torch.arange(9)[None]).logits
    loaded = model.dtype, {name: tensor.clone() for name, tensor in model.state_dict().items()}, logits.clone()
    del model
    gc.collect()
    return loaded


@pytest.mark.slow
@pytest.mark.parametrize("case", ["trainer-zero2-w2", "trainer-zero3-w2", "trainer-tied-zero3-w2"])
def test_a_folder_of_the_trainer_loads(case, saves, mount):
    from transformers import AutoConfig, AutoModelForCausalLM

    save = saves[case]
    checkpoint = save.root / "checkpoint-2"
    assert (checkpoint / "model.safetensors").exists() == ("zero2" in case)
    expected = save.reference
    reference = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(checkpoint), dtype=torch.float32).eval()
    reference.load_state_dict(expected)
    with mount(checkpoint) as path:
        dtype, state, logits = load(path)
    assert dtype == torch.float32
    assert state.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(state[name], tensor), name
    with torch.no_grad():
        assert torch.equal(logits, reference(torch.arange(9)[None]).logits)
    # The folder of steps shows it too.
    with mount(save.root, "--dtype", "bf16") as path:
        dtype, state, _ = load(path / "checkpoint-2", dtype="auto")
    assert dtype == torch.bfloat16
    for name, tensor in state.items():
        assert torch.equal(tensor, expected[name].to(torch.bfloat16)), name
