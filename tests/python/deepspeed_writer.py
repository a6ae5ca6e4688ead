"""Writes small checkpoints with the real DeepSpeed, on the CPU, with 1 to 4 processes. Runs in the environment of
tests/requirements/deepspeed.txt: `python deepspeed_writer.py FOLDER CASE...`.

A case becomes FOLDER/CASE/: `save/` as DeepSpeed writes it, `live.pt` with the masters and `module.pt` with the
copies as the running engine holds them, and `reference.pt`, what DeepSpeed's zero_to_fp32 makes of `save/`, or
`reference.txt` with the words in which it refuses. A case `older-NAME` is NAME, for a run with an older release.
"""

import contextlib
import os
import socket
import sys
import traceback
from pathlib import Path

os.environ.setdefault("DS_ACCELERATOR", "cpu")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import deepspeed  # noqa: E402
import torch  # noqa: E402
from deepspeed.accelerator import get_accelerator  # noqa: E402
from deepspeed.moe.layer import MoE  # noqa: E402
from deepspeed.pipe import LayerSpec, PipelineModule, TiedLayerSpec  # noqa: E402
from deepspeed.utils import safe_get_full_fp32_param  # noqa: E402
from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint  # noqa: E402

# oneDNN without float16 says no, but torch computes it all the same.
get_accelerator().is_fp16_supported = lambda: True
# No operator is compiled.
for name in deepspeed.ops.__compatible_ops__:
    deepspeed.ops.__compatible_ops__[name] = False

OLDER = "older-"
STEPS = 2
WIDTH = 6


class Model(torch.nn.Module):
    """Odd sizes, three parameter groups, buffers of three types, frozen parameters, a tie."""

    def __init__(self, tied: bool, frozen: bool):
        super().__init__()
        self.embed = torch.nn.Embedding(13, WIDTH)
        self.inner = torch.nn.Linear(WIDTH, 11)
        self.outer = torch.nn.Linear(11, WIDTH)
        self.norm = torch.nn.LayerNorm(WIDTH)
        self.batch = torch.nn.BatchNorm1d(WIDTH, affine=False)
        self.adapter = torch.nn.Linear(WIDTH, WIDTH, bias=False)
        self.scale = torch.nn.Parameter(torch.randn(1))
        self.head = torch.nn.Linear(WIDTH, 13, bias=False)
        self.register_buffer("position_ids", torch.arange(7))
        self.register_buffer("mask", torch.tensor([True, False, True]))
        self.register_buffer("unsaved", torch.ones(2), persistent=False)
        if tied:
            self.head.weight = self.embed.weight
        if frozen:
            self.adapter.weight.requires_grad_(False)
            self.norm.weight.requires_grad_(False)

    def forward(self, ids):
        hidden = self.embed(ids)
        hidden = hidden + self.outer(torch.tanh(self.inner(hidden)))
        hidden = self.norm(self.batch(hidden.to(self.batch.running_mean.dtype)).to(hidden.dtype))
        hidden = hidden + self.adapter(hidden) * self.scale
        return self.head(hidden).float().logsumexp(-1).mean()

    def groups(self):
        trained = [(name, p) for name, p in self.named_parameters() if p.requires_grad]
        biases = [p for name, p in trained if name.endswith("bias")]
        lone = [p for name, p in trained if name == "scale"]
        rest = [p for name, p in trained if not name.endswith("bias") and name != "scale"]
        return [{"params": rest}, {"params": biases, "weight_decay": 0.0}, {"params": lone, "lr": 0.02}]


class Experts(torch.nn.Module):
    def __init__(self, ep_size: int, count: int):
        super().__init__()
        self.embed = torch.nn.Embedding(13, WIDTH)
        self.layers = torch.nn.ModuleList(
            MoE(WIDTH, torch.nn.Linear(WIDTH, WIDTH), num_experts=count, ep_size=ep_size, k=1, min_capacity=0) for _ in range(2)
        )
        self.norm = torch.nn.LayerNorm(WIDTH)

    def forward(self, ids):
        hidden = self.embed(ids).unsqueeze(0)
        for layer in self.layers:
            hidden = hidden + layer(hidden)[0]
        return self.norm(hidden).float().square().mean()

    def groups(self):
        from deepspeed.moe.utils import split_params_into_different_moe_groups_for_optimizer

        return split_params_into_different_moe_groups_for_optimizer(
            {"params": list(self.parameters()), "name": "parameters"}
        )


class Embed(torch.nn.Embedding):
    pass


class Tanh(torch.nn.Module):
    """A layer with a buffer and without parameters."""

    def __init__(self):
        super().__init__()
        self.register_buffer("factor", torch.tensor([1.5, 0.5]))

    def forward(self, hidden):
        return torch.tanh(hidden) * self.factor[0].to(hidden.dtype)


def pipeline(stages: int, tied: str):
    def unembed(embed, hidden):
        return hidden @ embed.weight.T

    first = {"none": LayerSpec(Embed, 13, WIDTH)}.get(tied, TiedLayerSpec("embed", Embed, 13, WIDTH))
    last = {
        "none": LayerSpec(torch.nn.Linear, WIDTH, 13),
        "forward": TiedLayerSpec("embed", Embed, 13, WIDTH, forward_fn=unembed),
        "module": TiedLayerSpec("mix", torch.nn.Linear, WIDTH, WIDTH),
    }[tied]
    middle = {"module": TiedLayerSpec("mix", torch.nn.Linear, WIDTH, WIDTH)}.get(tied, LayerSpec(torch.nn.Linear, WIDTH, WIDTH))
    layers = [first, LayerSpec(torch.nn.Linear, WIDTH, WIDTH), LayerSpec(Tanh), lambda x: x * 2, middle, last]
    return PipelineModule(
        layers=layers, num_stages=stages, loss_fn=lambda out, label: out.float().square().mean(), partition_method="uniform"
    )


def config_of(case: dict) -> dict:
    config = {
        "train_micro_batch_size_per_gpu": 2,
        "gradient_accumulation_steps": 1,
        "zero_allow_untested_optimizer": True,
        "zero_optimization": {"stage": case.get("stage", 0), **case.get("zero", {})},
        "steps_per_print": 10**9,
    }
    dtype = case.get("dtype", "fp32")
    if dtype == "bf16":
        config["bf16"] = {"enabled": True}
    if dtype == "fp16":
        config["fp16"] = {"enabled": True, "initial_scale_power": 4}
    config.update(case.get("config", {}))
    return config


def seeds(config):
    torch.manual_seed(7)


def train(case: dict, folder: Path, rank: int):
    torch.manual_seed(7)
    kind = case.get("model", "plain")
    config = config_of(case)
    if kind == "pipeline":
        model = pipeline(case["stages"], case.get("tied", "none"))
        parameters = [p for p in model.parameters() if p.requires_grad]
    elif kind == "moe":
        model = Experts(case["ep_size"], case.get("experts", 4))
        parameters = model.groups()
    else:
        context = (
            deepspeed.zero.Init(config_dict_or_path=config) if case.get("zero_init") else contextlib.nullcontext()
        )
        with context:
            model = Model(case.get("tie", True), case.get("frozen", True))
        parameters = model.groups() if case.get("groups", True) else [p for p in model.parameters() if p.requires_grad]
    optimizer = {"adam": torch.optim.AdamW, "sgd": torch.optim.SGD}[case.get("optimizer", "adam")](parameters, lr=0.01)
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=config)
    generator = torch.Generator().manual_seed(rank)
    for _ in range(case.get("steps", STEPS)):
        ids = torch.randint(0, 13, (2 if kind == "pipeline" else 3,), generator=generator)
        if kind == "pipeline":
            engine.train_batch(iter([(ids, ids)] * 4))
        else:
            engine.backward(engine(ids))
            engine.step()
    client = {"args": {"note": "client state", "tensor": torch.arange(3)}, "lr": 0.01}
    engine.save_checkpoint(str(folder / "save"), tag=case.get("tag", "global_step2"), client_state=client)
    for steps in case.get("more_saves", []):
        ids = torch.randint(0, 13, (3,), generator=generator)
        engine.backward(engine(ids))
        engine.step()
        engine.save_checkpoint(str(folder / "save"), tag=f"global_step{steps}")
    record(engine, case, folder, rank)


def run_trainer(case: dict, folder: Path):
    """What transformers' Trainer leaves behind: checkpoint-2/ with the save, config.json and, where it can, weights."""
    import transformers
    import transformers.training_args

    os.environ["ACCELERATE_USE_DEEPSPEED"] = "true"
    # bfloat16 is for GPUs, says the Trainer; the CPU computes it all the same.
    transformers.training_args.is_torch_bf16_gpu_available = lambda: True
    torch.manual_seed(7)
    config = transformers.LlamaConfig(
        vocab_size=37, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=64, tie_word_embeddings=case.get("tie", False),
    )  # fmt: skip
    settings = config_of(case)
    settings["train_micro_batch_size_per_gpu"] = "auto"
    settings["zero_optimization"]["stage3_gather_16bit_weights_on_model_save"] = False
    arguments = transformers.TrainingArguments(
        output_dir=str(folder / "save"), max_steps=STEPS, save_steps=STEPS, per_device_train_batch_size=2, report_to=[],
        deepspeed=settings, ddp_backend="gloo", bf16=case.get("dtype") == "bf16", disable_tqdm=True, optim="adamw_torch",
    )  # fmt: skip
    rows = [{"input_ids": torch.arange(i, i + 8) % 37, "labels": torch.arange(i, i + 8) % 37} for i in range(16)]
    trainer = transformers.Trainer(transformers.LlamaForCausalLM(config), arguments, train_dataset=rows)
    trainer.train()
    return trainer.model_wrapped


def run_accelerate(case: dict, folder: Path):
    """What Accelerate's save_state leaves behind: the tag `pytorch_model`, and states of its own beside it."""
    import accelerate

    torch.manual_seed(7)
    config = config_of(case)
    model = Model(tied=False, frozen=True)
    optimizer = torch.optim.AdamW(model.groups(), lr=0.01)
    accelerator = accelerate.Accelerator(deepspeed_plugin=accelerate.DeepSpeedPlugin(hf_ds_config=config))
    engine, optimizer = accelerator.prepare(model, optimizer)
    for _ in range(STEPS):
        accelerator.backward(engine(torch.randint(0, 13, (3,))))
        optimizer.step()
    accelerator.save_state(str(folder / "save"))
    return engine


def record(engine, case: dict, folder: Path, rank: int):
    """The masters and the copies of this rank, under the names of the whole model."""
    module = engine.module
    masters, copies = {}, {}
    stage3 = case.get("stage") == 3
    names = {id(p): name for name, p in module.named_parameters()}
    for name, parameter in module.named_parameters():
        name = global_name(name, module, case)
        if parameter.requires_grad and case.get("stage", 0) > 0:
            masters[name] = safe_get_full_fp32_param(parameter).detach().clone()
        elif stage3:
            with deepspeed.zero.GatheredParameters([parameter]):
                masters[name] = parameter.detach().clone()
        else:
            masters[name] = parameter.detach().clone()
    for name, value in module.state_dict().items():
        full = global_name(name, module, case)
        if not stage3:
            copies[full] = value.detach().clone()
        if full not in masters and name not in dict(module.named_parameters()):
            masters.setdefault(full, value.detach().clone())
    # A tied name is no parameter of its own.
    for name, value in dict(module.named_parameters(remove_duplicate=False)).items():
        full, source = global_name(name, module, case), global_name(names[id(value)], module, case)
        masters[full] = masters[source]
    torch.save({"masters": masters, "module": copies}, folder / f"live_{rank}.pt")


def global_name(name: str, module, case: dict) -> str:
    marker = ".deepspeed_moe.experts.deepspeed_experts."
    if marker not in name:
        return name
    layer, rest = name.split(marker)
    number, _, tail = rest.partition(".")
    moe = module.get_submodule(layer)
    from deepspeed.utils import groups

    rank = groups._get_expert_parallel_rank(moe.expert_group_name)
    return f"{layer}{marker}{rank * moe.num_local_experts + int(number)}.{tail}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def run_rank(case: dict, folder: Path, rank: int, port: int):
    world = case.get("world", 1)
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world), LOCAL_WORLD_SIZE=str(world),
        MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port),
    )  # fmt: skip
    torch.set_num_threads(1)
    log = open(folder / f"rank_{rank}.log", "w")
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)
    if case.get("model") == "trainer":
        record(run_trainer(case, folder), case, folder, rank)
        return
    deepspeed.init_distributed("gloo")
    if case.get("model") == "accelerate":
        record(run_accelerate(case, folder), case, folder, rank)
        return
    train(case, folder, rank)


def write(name: str, case: dict, root: Path):
    folder = root / name
    folder.mkdir(parents=True)
    port = free_port()
    children = []
    for rank in range(case.get("world", 1)):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                run_rank(case, folder, rank, port)
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)
        children.append(child)
    failed = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    if any(failed):
        logs = "\n".join((folder / f"rank_{r}.log").read_text()[-3000:] for r in range(len(children)))
        raise SystemExit(f"{name}: ranks ended with {failed}\n{logs}")
    masters, module = {}, {}
    for rank in range(case.get("world", 1)):
        path = folder / f"live_{rank}.pt"
        live = torch.load(path, weights_only=True)
        masters, module = {**live["masters"], **masters}, {**live["module"], **module}
        path.unlink()
    torch.save(masters, folder / "live.pt")
    torch.save(module, folder / "module.pt")
    refer(folder)


def refer(folder: Path):
    with open(os.devnull, "w") as null, contextlib.redirect_stdout(null), contextlib.redirect_stderr(null):
        try:
            root = folder / "save" / f"checkpoint-{STEPS}"
            state = get_fp32_state_dict_from_zero_checkpoint(str(root if root.exists() else folder / "save"))
        except Exception as error:
            (folder / "reference.txt").write_text(f"{type(error).__name__}: {error}\n")
            return
    torch.save({key: value.detach().clone() for key, value in state.items()}, folder / "reference.pt")


def zero_cases() -> dict[str, dict]:
    cases = {}
    for stage in (1, 2, 3):
        for dtype in ("fp32", "bf16", "fp16"):
            for world in (1, 2, 3, 4):
                cases[f"zero{stage}-{dtype}-w{world}"] = {"stage": stage, "dtype": dtype, "world": world}
    return cases


CASES = {
    **zero_cases(),
    "zero0-fp32-w2": {"stage": 0, "world": 2},
    "zero0-fp16-w1": {"stage": 0, "dtype": "fp16", "groups": False},
    "zero1-bf16-optimizer-w3": {
        "stage": 1, "dtype": "bf16", "world": 3, "config": {"data_types": {"grad_accum_dtype": "fp32"}},
    },
    # One group of more parameters than ranks, so that dealing them out changes their order.
    "zero1-round-robin-w3": {
        "stage": 1, "world": 3, "dtype": "bf16", "groups": False, "zero": {"round_robin_gradients": True},
    },
    "zero2-round-robin-w4": {
        "stage": 2, "world": 4, "dtype": "bf16", "groups": False, "zero": {"round_robin_gradients": True},
    },
    "zero1-aligned-w3": {"stage": 1, "world": 3, "dtype": "bf16", "zero": {"parameter_alignment": True}},
    "zero2-aligned-w2": {"stage": 2, "world": 2, "dtype": "fp16", "zero": {"parameter_alignment": True}},
    "zero2-elastic-w2": {"stage": 2, "world": 2, "zero": {"elastic_checkpoint": True}, "dtype": "bf16"},
    "zero3-sub-groups-w2": {"stage": 3, "world": 2, "dtype": "bf16", "zero": {"sub_group_size": 40}},
    "zero3-init-w3": {"stage": 3, "world": 3, "dtype": "bf16", "zero_init": True},
    "zero2-untied-w2": {"stage": 2, "world": 2, "dtype": "bf16", "tie": False, "frozen": False},
    "zero2-legacy-w2": {"stage": 2, "world": 2, "dtype": "bf16", "config": {"checkpoint": {"checkpoint_serialization": False}}},
    "zero2-sgd-w2": {"stage": 2, "world": 2, "optimizer": "sgd"},
    "zero2-saves-w2": {"stage": 2, "world": 2, "dtype": "bf16", "more_saves": [3]},
    "zero3-saves-w2": {"stage": 3, "world": 2, "dtype": "bf16", "more_saves": [3]},
    "moe-ep1-zero2-w2": {"model": "moe", "ep_size": 1, "stage": 2, "world": 2, "dtype": "bf16"},
    "moe-ep2-zero1-w4": {"model": "moe", "ep_size": 2, "stage": 1, "world": 4, "dtype": "bf16"},
    "moe-ep2-zero2-w2": {"model": "moe", "ep_size": 2, "stage": 2, "world": 2, "dtype": "bf16"},
    "moe-ep2-zero0-w2": {"model": "moe", "ep_size": 2, "stage": 0, "world": 2},
    "moe-data-first-w4": {
        "model": "moe", "ep_size": 2, "stage": 1, "world": 4, "dtype": "bf16",
        "config": {"use_data_before_expert_parallelism": True},
    },
    "trainer-zero2-w2": {"model": "trainer", "stage": 2, "world": 2, "dtype": "bf16"},
    "trainer-zero3-w2": {"model": "trainer", "stage": 3, "world": 2, "dtype": "bf16"},
    "trainer-tied-zero3-w2": {"model": "trainer", "stage": 3, "world": 2, "tie": True},
    "accelerate-zero2-w2": {"model": "accelerate", "stage": 2, "world": 2, "dtype": "bf16"},
    "accelerate-zero3-w3": {"model": "accelerate", "stage": 3, "world": 3, "dtype": "bf16"},
    "pipe-zero0-w2": {"model": "pipeline", "stages": 2, "stage": 0, "world": 2},
    "pipe-zero1-w4": {"model": "pipeline", "stages": 2, "stage": 1, "world": 4, "dtype": "bf16"},
    "pipe-tied-zero1-w2": {"model": "pipeline", "stages": 2, "stage": 1, "world": 2, "dtype": "bf16", "tied": "forward"},
    "pipe-mix-zero1-w2": {"model": "pipeline", "stages": 2, "stage": 1, "world": 2, "dtype": "bf16", "tied": "module"},
}  # fmt: skip


def main():
    root = Path(sys.argv[1])
    for name in sys.argv[2:]:
        write(name, CASES[name.removeprefix(OLDER)], root)
        print(name, flush=True)


if __name__ == "__main__":
    main()
