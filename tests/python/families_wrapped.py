"""State dicts under Hugging Face names inside wrappers: compiled, distributed, sharded, checkpointed modules."""

import re
from pathlib import Path

import torch

import repositories
from family_cases import ABSENT, Written, case

BLOCK = re.compile(r"((?:transformer\.h|model\.layers)\.\d+)\.")


def wrap(name: str, kind: str) -> str:
    """The name of a parameter once its model is wrapped, as torch and its users wrap."""
    if kind == "fsdp":  # wrapped whole and by block
        return "_fsdp_wrapped_module." + BLOCK.sub(r"\1._fsdp_wrapped_module.", name)
    if kind == "fsdp_checkpointed":  # the same, each block recomputed
        return "_fsdp_wrapped_module." + BLOCK.sub(r"\1._fsdp_wrapped_module._checkpoint_wrapped_module.", name)
    if kind == "compiled_blocks":
        return BLOCK.sub(r"\1._orig_mod.", name)
    return {"compiled": "_orig_mod.", "distributed": "module.", "distributed_compiled": "_orig_mod.module.",
            "deepspeed": "_forward_module."}[kind] + name


def write_wrapped(folder: Path, model_name: str, kind: str, key: str | None = None) -> Written:
    model = repositories.make_model(model_name)
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    state = dict(model.state_dict())
    saved = {wrap(name, kind): tensor for name, tensor in state.items()}
    path = folder / "checkpoint.pt"
    torch.save({key: saved, "epoch": 3} if key else saved, path)

    def logits(ids: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return model(input_ids=ids).logits

    return Written(path, state, {"model_type": ABSENT}, state, logits=logits,
                   options=("--config", str(folder / "config.json")))


@case("wrapped")
def wrapped_compiled(folder: Path) -> Written:
    return write_wrapped(folder, "gpt2", "compiled", "model")


@case("wrapped")
def wrapped_compiled_blocks(folder: Path) -> Written:
    return write_wrapped(folder, "llama", "compiled_blocks")


@case("wrapped")
def wrapped_distributed(folder: Path) -> Written:
    return write_wrapped(folder, "llama", "distributed", "state_dict")


@case("wrapped")
def wrapped_distributed_compiled(folder: Path) -> Written:
    return write_wrapped(folder, "gpt2", "distributed_compiled")


@case("wrapped")
def wrapped_deepspeed(folder: Path) -> Written:
    return write_wrapped(folder, "gpt2", "deepspeed")


@case("wrapped")
def wrapped_fsdp(folder: Path) -> Written:
    return write_wrapped(folder, "llama", "fsdp")


@case("wrapped")
def wrapped_fsdp_checkpointed(folder: Path) -> Written:
    return write_wrapped(folder, "gpt2", "fsdp_checkpointed")


@case("lightning")
def lightning_compiled(folder: Path) -> Written:
    """A module that was compiled before it became an attribute."""
    written = write_wrapped(folder, "llama", "compiled")
    path = folder / "last.ckpt"
    saved = {f"net._orig_mod.{name}": tensor for name, tensor in written.native.items()}
    torch.save({"epoch": 1, "global_step": 10, "pytorch-lightning_version": "2.6.6", "state_dict": saved,
                "loops": {}, "callbacks": {}, "optimizer_states": [], "lr_schedulers": []}, path)
    (folder / "checkpoint.pt").unlink()
    written.source = path
    return written
