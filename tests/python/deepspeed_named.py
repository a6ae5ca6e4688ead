"""Saves of the real DeepSpeed of modules with given names: `python deepspeed_named.py JOBS.json`, in the environment of
tests/requirements/deepspeed.txt. A job is {"state": a safetensors file, "save": a folder, "tag", "stage", "world", "by"}: a module
whose parameters have the names and values of the file is put under an engine in bfloat16 and saved by `save_checkpoint`, or, by
"sat", as SwissArmyTransformer does: `_save_checkpoint` alone, which leaves the optimizer's files out, and `latest`.
"""

import json
import os
import socket
import sys
import traceback
from pathlib import Path

os.environ.setdefault("DS_ACCELERATOR", "cpu")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")

import deepspeed  # noqa: E402
import torch  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

# No operator is compiled.
for operator in deepspeed.ops.__compatible_ops__:
    deepspeed.ops.__compatible_ops__[operator] = False


class Named(torch.nn.Module):
    """Nothing but parameters, under the names given."""

    def __init__(self, state: dict[str, torch.Tensor]):
        super().__init__()
        for name, tensor in state.items():
            *folders, last = name.split(".")
            module = self
            for folder in folders:
                if folder not in module._modules:
                    module.add_module(folder, torch.nn.Module())
                module = module._modules[folder]
            module.register_parameter(last, torch.nn.Parameter(tensor.float()))

    def forward(self):
        return sum(parameter.float().mean() for parameter in self.parameters())


def save(job: dict) -> None:
    config = {"train_micro_batch_size_per_gpu": 1, "bf16": {"enabled": True},
              "zero_optimization": {"stage": job["stage"]}, "zero_allow_untested_optimizer": True}
    model = Named(load_file(job["state"]))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=config)
    folder, tag = Path(job["save"]), job["tag"]
    if job["by"] != "sat":
        engine.save_checkpoint(str(folder), tag=tag)
        return
    if torch.distributed.get_rank() == 0:
        (folder / tag).mkdir(parents=True)
        engine._save_checkpoint(str(folder), tag, client_state={"iteration": int(tag)})
        (folder / "latest").write_text(tag)


def run_rank(job: dict, rank: int, port: int) -> None:
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(job["world"]), MASTER_ADDR="127.0.0.1",
                      LOCAL_WORLD_SIZE=str(job["world"]), MASTER_PORT=str(port))
    torch.set_num_threads(1)
    deepspeed.init_distributed("gloo")
    save(job)
    torch.distributed.barrier()


def main() -> None:
    for job in json.loads(Path(sys.argv[1]).read_text()):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        children = []
        for rank in range(job["world"]):
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    run_rank(job, rank, port)
                    status = 0
                except BaseException:
                    traceback.print_exc()
                finally:
                    sys.stderr.flush()
                    os._exit(status)
            children.append(child)
        ended = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        if any(ended):
            raise SystemExit(f"{job['save']}: ranks ended with {ended}")


if __name__ == "__main__":
    main()
