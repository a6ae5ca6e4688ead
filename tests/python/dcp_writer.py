"""Writes distributed checkpoints with torch itself: python dcp_writer.py OUT [CASE]...

Every case is a folder of OUT. `expected.pt` beside the folders holds, by case, the tensors that were saved, as one
process has them. Ranks are forked from one process that has imported torch, so a case costs a second, not ten.
"""

import json
import multiprocessing
import os
import sys
import tempfile
import warnings
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")

import torch  # noqa: E402
import torch.distributed as dist  # noqa: E402
import torch.distributed.checkpoint as dcp  # noqa: E402
from torch.distributed.checkpoint import FileSystemWriter  # noqa: E402
from torch.distributed.checkpoint.state_dict import (  # noqa: E402
    StateDictOptions, get_model_state_dict, get_optimizer_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh  # noqa: E402
from torch.distributed.fsdp import FullyShardedDataParallel, ShardingStrategy, StateDictType, fully_shard  # noqa: E402
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor  # noqa: E402
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module  # noqa: E402

CASES = {}


def case(world: int):
    """Registers a case of `world` ranks: called on each of them as `write(folder)`."""

    def register(function):
        CASES[function.__name__] = (world, function)
        return function

    return register


class Net(torch.nn.Module):
    """Small and uneven: 13 and 7 divide by no number of ranks."""

    def __init__(self, tied: bool = False):
        super().__init__()
        self.embed = torch.nn.Embedding(29, 13)
        self.layers = torch.nn.ModuleList(torch.nn.Linear(13, 13, bias=i == 0) for i in range(2))
        self.norm = torch.nn.LayerNorm(13)
        self.tiny = torch.nn.Linear(13, 1)
        self.head = torch.nn.Linear(13, 29, bias=False)
        if tied:
            self.head.weight = self.embed.weight
        self.register_buffer("table", torch.arange(7))
        self.register_buffer("scale", torch.tensor(2.5, dtype=torch.float64))

    def forward(self, ids):
        x = self.embed(ids)
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x)) + self.tiny(x)


def make_net(**options) -> Net:
    torch.manual_seed(1)
    return Net(**options)


class EvenNet(torch.nn.Module):
    """Sizes that tensor parallelism divides."""

    def __init__(self):
        super().__init__()
        self.up = torch.nn.Linear(8, 16)
        self.down = torch.nn.Linear(16, 12)
        self.norm = torch.nn.LayerNorm(12)

    def forward(self, x):
        return self.norm(self.down(self.up(x)))


def make_even_net() -> EvenNet:
    torch.manual_seed(2)
    return EvenNet()


def trained(model) -> torch.optim.Optimizer:
    """One step, so that the optimizer has a state; the weights stay what they are."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, weight_decay=0.0)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    optimizer.zero_grad()
    return optimizer


def whole_state(model, optimizer) -> dict:
    return {"model": get_model_state_dict(model), "optim": get_optimizer_state_dict(model, optimizer),
            "epoch": 3, "note": {"by": "a test", "numbers": [1, 2]}}


DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16,
          torch.int8, torch.uint8, torch.bool, torch.complex64, torch.uint16, torch.uint32, torch.uint64,
          torch.float8_e4m3fn, torch.float8_e5m2]


def every_dtype() -> dict:
    generator = torch.Generator().manual_seed(3)
    tensors = {}
    for dtype in DTYPES:
        size = torch.empty(0, dtype=dtype).element_size()
        raw = torch.randint(0, 2 if dtype == torch.bool else 256, (5, 6 * size), dtype=torch.uint8, generator=generator)
        tensors[str(dtype).removeprefix("torch.")] = raw.view(dtype)
    return tensors


@case(1)
def plain(folder):
    base = torch.arange(60.0).reshape(6, 10)
    model = every_dtype() | {
        "scalar": torch.tensor(7.5), "empty": torch.empty(0, 4), "strided": base[:, 2:5], "transposed": base.t(),
        "parameter": torch.nn.Parameter(torch.randn(3, 3, generator=torch.Generator().manual_seed(4))),
        "nested": {"list": [torch.ones(2), torch.zeros(3)], "number": 5}, "text": "no tensor",
    }
    dcp.save({"model": model, "optimizer": {"state": {"a.exp_avg": torch.ones(4)}}, "step": 4},
             checkpoint_id=folder)
    return {name: tensor for name, tensor in model.items() if isinstance(tensor, torch.Tensor)} | {
        "nested.list.0": torch.ones(2), "nested.list.1": torch.zeros(3)}


@case(1)
def flat(folder):
    tensors = {"layers.0.weight": torch.randn(4, 5), "model.norm.weight": torch.randn(5), "steps": torch.tensor(3)}
    dcp.save(tensors, checkpoint_id=folder)
    return tensors


@case(1)
def app_wrapped(folder):
    tensors = {"layers.0.weight": torch.randn(4, 5)}
    dcp.save({"app": {"model": tensors, "optim": {"state": {"layers.0.weight": torch.ones(1)}}}}, checkpoint_id=folder)
    return tensors


@case(1)
def several_subtrees(folder):
    dcp.save({"model": {"w": torch.randn(2)}, "ema": {"w": torch.full((2,), 9.0)}, "optim": {"w": torch.ones(2)}},
             checkpoint_id=folder)
    return {"w": torch.full((2,), 9.0)}


@case(1)
def torchtitan_like(folder):
    tensors = {"tok_embeddings.weight": torch.randn(4, 5), "norm.weight": torch.randn(5)}
    dcp.save(tensors | {"optimizer": {"state.norm.weight.exp_avg": torch.ones(5), "param_groups.norm.weight.lr": 0.1},
                        "lr_scheduler": {"last_epoch": 3}}, checkpoint_id=folder)
    return tensors


def fsdp2(world, **options):
    mesh = init_device_mesh("cpu", (world,))
    model = make_net(**options)
    for layer in model.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model


def fsdp2_case(world):
    def write(folder):
        model = fsdp2(world)
        dcp.save(whole_state(model, trained(model)), checkpoint_id=folder)
        return make_net().state_dict()

    write.__name__ = f"fsdp2_{world}"
    case(world)(write)


for _world in (1, 2, 3, 4):
    fsdp2_case(_world)


def llama_model(**options):
    import transformers

    torch.manual_seed(11)
    sizes = dict(vocab_size=96, hidden_size=48, intermediate_size=80, num_hidden_layers=2, num_attention_heads=4,
                 num_key_value_heads=2, tie_word_embeddings=False)
    config = transformers.LlamaConfig(**sizes | options)
    return transformers.LlamaForCausalLM(config).eval()


@case(2)
def fsdp2_llama(folder):
    model = llama_model()
    mesh = init_device_mesh("cpu", (2,))
    for layer in model.model.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    dcp.save(whole_state(model, trained(model)), checkpoint_id=f"{folder}/pytorch_model_fsdp_0")
    return llama_model().state_dict()


@case(2)
def fsdp2_tied(folder):
    model = fsdp2(2, tied=True)
    dcp.save({"model": get_model_state_dict(model)}, checkpoint_id=folder)
    return make_net(tied=True).state_dict()


@case(2)
def fsdp2_flattened_optimizer(folder):
    model = fsdp2(2)
    options = StateDictOptions(flatten_optimizer_state_dict=True)
    dcp.save({"model": get_model_state_dict(model),
              "optim": get_optimizer_state_dict(model, trained(model), options=options)}, checkpoint_id=folder)
    return make_net().state_dict()


@case(4)
def hsdp(folder):
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("replicate", "shard"))
    model = make_net()
    fully_shard(model, mesh=mesh)
    dcp.save(whole_state(model, trained(model)), checkpoint_id=folder)
    return make_net().state_dict()


TP_PLAN = {"up": ColwiseParallel(), "down": RowwiseParallel()}


@case(2)
def tensor_parallel(folder):
    model = parallelize_module(make_even_net(), init_device_mesh("cpu", (2,)), TP_PLAN)
    dcp.save({"model": model.state_dict()}, checkpoint_id=folder)
    return make_even_net().state_dict()


@case(4)
def two_dimensional(folder):
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("dp", "tp"))
    model = parallelize_module(make_even_net(), mesh["tp"], TP_PLAN)
    fully_shard(model, mesh=mesh["dp"])
    dcp.save({"model": get_model_state_dict(model)}, checkpoint_id=folder)
    return make_even_net().state_dict()


@case(4)
def boxes(folder):
    """Every pair of placements on a 2 x 2 mesh, of tensors of 1 to 4 dimensions."""
    mesh = init_device_mesh("cpu", (2, 2))
    generator = torch.Generator().manual_seed(5)
    expected, sharded = {}, {}
    for shape in ((7,), (5, 6), (4, 3, 5), (2, 3, 4, 5)):
        for first in [*range(len(shape)), None]:
            for second in [*range(len(shape)), None]:
                placements = [Replicate() if dim is None else Shard(dim) for dim in (first, second)]
                name = f"{'x'.join(map(str, shape))}.{first}.{second}"
                expected[name] = torch.randn(*shape, generator=generator)
                sharded[name] = distribute_tensor(expected[name], mesh, placements)
    dcp.save({"model": sharded}, checkpoint_id=folder)
    return expected


@case(2)
def strided_shards(folder):
    """Local tensors that are not in row-major order: what a file holds has strides of its own."""
    mesh = init_device_mesh("cpu", (2,))
    whole = torch.randn(6, 10, generator=torch.Generator().manual_seed(6))
    rank = dist.get_rank()
    local = whole[3 * rank:3 * rank + 3].t().contiguous().t()
    dcp.save({"model": {"w": DTensor.from_local(local, mesh, [Shard(0)])}}, checkpoint_id=folder)
    return {"w": whole}


@case(2)
def fsdp1(folder):
    model = FullyShardedDataParallel(make_net(), device_id=torch.device("cpu"),
                                     sharding_strategy=ShardingStrategy.FULL_SHARD)
    with FullyShardedDataParallel.state_dict_type(model, StateDictType.SHARDED_STATE_DICT):
        dcp.save({"model": model.state_dict()}, checkpoint_id=folder)
    return make_net().state_dict()


@case(2)
def fsdp1_local(folder):
    model = FullyShardedDataParallel(make_net(), device_id=torch.device("cpu"), use_orig_params=False)
    with FullyShardedDataParallel.state_dict_type(model, StateDictType.LOCAL_STATE_DICT):
        dcp.save({"model": model.state_dict()}, checkpoint_id=folder)
    return {}


@case(2)
def sharded_rank_files(folder):
    """SHARDED_STATE_DICT saved with torch.save by each rank: pickled ShardedTensor objects."""
    from torch.distributed.fsdp import ShardedStateDictConfig

    model = FullyShardedDataParallel(make_net(), device_id=torch.device("cpu"))
    with FullyShardedDataParallel.state_dict_type(model, StateDictType.SHARDED_STATE_DICT,
                                                  ShardedStateDictConfig(_use_dtensor=False)):
        state = model.state_dict()
        Path(folder).mkdir(exist_ok=True)
        torch.save(state, Path(folder) / f"pytorch_model_rank{dist.get_rank()}.bin")
    dist.barrier()
    return make_net().state_dict()


@case(2)
def olmo_rank_files(folder):
    """The first OLMo trainer's sharded saves: everything that a rank has in one file, model and optimizer."""
    model = FullyShardedDataParallel(make_net(), device_id=torch.device("cpu"), use_orig_params=True)
    optimizer = trained(model)
    with FullyShardedDataParallel.state_dict_type(model, StateDictType.SHARDED_STATE_DICT):
        state = {"model": model.state_dict(), "optim": FullyShardedDataParallel.optim_state_dict(model, optimizer),
                 "global_step": 3}
    Path(folder).mkdir(exist_ok=True)
    torch.save(state, Path(folder) / f"rank{dist.get_rank()}.pt")
    dist.barrier()
    return make_net().state_dict()


@case(2)
def olmo_local(folder):
    """Its `local` saves: flat parameters."""
    from torch.distributed.fsdp._common_utils import _FSDPState

    model = FullyShardedDataParallel(make_net(), device_id=torch.device("cpu"), use_orig_params=True)
    modules = [module for module in model.modules() if isinstance(module, _FSDPState)]
    handles = [{"flat_param.data": module._handle.flat_param.detach(), "flat_param._fqns": module._handle.flat_param._fqns}
               for module in modules]
    for name, state in (("model", {"modules": [{"handles": handles, "name": ""}]}), ("optim", {"state": {}})):
        (Path(folder) / name).mkdir(exist_ok=True, parents=True)
        torch.save(state, Path(folder) / name / f"rank{dist.get_rank()}.pt")
    (Path(folder) / "metadata.yaml").write_text("world_size: 2\n")
    dist.barrier()
    return {}


@case(3)
def dtensor_rank_files(folder):
    """The same of FSDP2, as accelerate saves without torch.distributed.checkpoint: pickled DTensor objects."""
    Path(folder).mkdir(exist_ok=True)
    torch.save(fsdp2(3).state_dict(), Path(folder) / f"pytorch_model_fsdp_0_rank{dist.get_rank()}.bin")
    dist.barrier()
    return make_net().state_dict()


def fsdp2_with(folder, writer, **options):
    model = fsdp2(dist.get_world_size())
    dcp.save(whole_state(model, trained(model)), storage_writer=writer, **options)
    return make_net().state_dict()


@case(2)
def threads(folder):
    return fsdp2_with(folder, FileSystemWriter(folder, thread_count=3))


@case(2)
def file_per_item(folder):
    return fsdp2_with(folder, FileSystemWriter(folder, single_file_per_rank=False))


@case(2)
def asynchronous(folder):
    model = fsdp2(2)
    group = dist.new_group(backend="gloo")
    dcp.async_save(whole_state(model, trained(model)), checkpoint_id=folder, process_group=group).result()
    return make_net().state_dict()


@case(2)
def zstd(folder):
    from torch.distributed.checkpoint._extension import ZStandard

    return fsdp2_with(folder, FileSystemWriter(folder, _extensions=[ZStandard()]))


@case(3)
def without_collectives(folder):
    model = fsdp2(3)
    state = whole_state(model, trained(model))
    dcp.save(state, storage_writer=FileSystemWriter(folder), use_collectives=False)
    dist.barrier()
    return make_net().state_dict()


@case(2)
def safetensors_blobs(folder):
    from torch.distributed.checkpoint.filesystem import SerializationFormat

    model = fsdp2(2)
    dcp.save({"model": get_model_state_dict(model), "epoch": 3},
             storage_writer=FileSystemWriter(folder, serialization_format=SerializationFormat.SAFETENSORS))
    return make_net().state_dict()


def huggingface(folder, world, **options):
    model = fsdp2(world)
    state = {name: tensor for name, tensor in get_model_state_dict(model).items() if name not in ("table", "scale")}
    dcp.save(state, storage_writer=dcp.HuggingFaceStorageWriter(path=folder, **options))
    dist.barrier()
    return {name: tensor for name, tensor in make_net().state_dict().items() if name in state}


@case(2)
def huggingface_shards(folder):
    return huggingface(folder, 2, save_distributed=True)


@case(2)
def huggingface_consolidated(folder):
    return huggingface(folder, 2, save_distributed=True, enable_consolidation=True)


@case(1)
def huggingface_full(folder):
    tensors = {"a.weight": torch.randn(3, 4), "b.weight": torch.randn(5)}
    dcp.save(tensors, storage_writer=dcp.HuggingFaceStorageWriter(path=folder, fqn_to_index_mapping={
        "a.weight": 1, "b.weight": 2}))
    return tensors


class OnCpu:
    """What accelerate's save functions ask of an Accelerator; a real one never has FSDP on a CPU."""

    def __init__(self):
        self.num_processes, self.process_index = dist.get_world_size(), dist.get_rank()
        self.is_main_process = self.process_index == 0

    def wait_for_everyone(self):
        dist.barrier()


def accelerate_folder(folder, version, kind, **options):
    """A folder of accelerate's save_state, and of the Trainer, by accelerate's own functions."""
    from accelerate import FullyShardedDataParallelPlugin
    from accelerate.state import PartialState
    from accelerate.utils.fsdp_utils import save_fsdp_model, save_fsdp_optimizer

    PartialState(cpu=True)
    plugin = FullyShardedDataParallelPlugin(fsdp_version=version, state_dict_type=kind)
    model = fsdp2(dist.get_world_size()) if version == 2 else FullyShardedDataParallel(
        make_net(), device_id=torch.device("cpu"), use_orig_params=kind != "LOCAL_STATE_DICT")
    save_fsdp_model(plugin, OnCpu(), model, folder, **options)
    if kind == "SHARDED_STATE_DICT":
        save_fsdp_optimizer(plugin, OnCpu(), trained(model), model, folder, **options)
    dist.barrier()
    return make_net().state_dict()


@case(2)
def accelerate_fsdp2(folder):
    return accelerate_folder(folder, 2, "SHARDED_STATE_DICT")


@case(2)
def accelerate_fsdp2_full(folder):
    return accelerate_folder(folder, 2, "FULL_STATE_DICT")


@case(3)
def accelerate_fsdp2_rank_files(folder):
    return accelerate_folder(folder, 2, "SHARDED_STATE_DICT", use_dcp=False)


@case(2)
def accelerate_fsdp1(folder):
    return accelerate_folder(folder, 1, "SHARDED_STATE_DICT")


@case(2)
def accelerate_fsdp1_local(folder):
    return accelerate_folder(folder, 1, "LOCAL_STATE_DICT")


def run_rank(rank, world, name, folder, rendezvous, expected):
    warnings.simplefilter("ignore")  # FSDP1 and ShardedTensor are deprecated: their files are not.
    torch.set_num_threads(1)
    torch.manual_seed(7)
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world), LOCAL_WORLD_SIZE=str(world),
                      MASTER_ADDR="127.0.0.1", MASTER_PORT="1")  # Read by accelerate; the group is there already.
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=world)
    tensors = CASES[name][1](str(folder))
    if rank == 0:
        torch.save({key: value.detach().clone().contiguous() for key, value in tensors.items()}, expected)
    dist.barrier()
    dist.destroy_process_group()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # Backend threads would abort an orderly exit now and then.


def write(name: str, out: Path) -> None:
    """Writes the case into OUT/NAME, and what it holds into OUT/NAME.expected.pt."""
    world = CASES[name][0]
    context = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory() as scratch:
        arguments = (world, name, out / name, f"{scratch}/rendezvous", out / f"{name}.expected.pt")
        ranks = [context.Process(target=run_rank, args=(rank, *arguments)) for rank in range(world)]
        for process in ranks:
            process.start()
        for process in ranks:
            process.join(120)
        codes = [process.exitcode for process in ranks]
        for process in ranks:
            process.kill()
    if codes != [0] * world:
        raise RuntimeError(f"{name}: ranks ended with {codes}")


if __name__ == "__main__":
    output = Path(sys.argv[1])
    output.mkdir(parents=True, exist_ok=True)
    names = sys.argv[2:] or list(CASES)
    for chosen in names:
        write(chosen, output)
    print(json.dumps(names))
