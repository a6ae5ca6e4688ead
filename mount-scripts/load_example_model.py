"""Loads a model from a mountpoint as any program would, generates a few tokens, and checks it against the source.

    python load_example_model.py MOUNTPOINT SOURCE_DIR
"""

import sys
import time
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

PROMPT = "A checkpoint is"


def main() -> None:
    mountpoint, source = sys.argv[1:]
    logging.disable_progress_bar()
    begin = time.monotonic()
    model = AutoModelForCausalLM.from_pretrained(mountpoint)
    tokenizer = AutoTokenizer.from_pretrained(mountpoint)
    loaded = time.monotonic()
    inputs = tokenizer(PROMPT, return_tensors="pt", return_token_type_ids=False)
    tokens = model.generate(**inputs, max_new_tokens=24, do_sample=False)[0]
    generated = time.monotonic()

    expected = torch.load(Path(source) / "pytorch_model.bin", weights_only=True)
    state = model.state_dict()
    different = [name for name, tensor in expected.items() if not torch.equal(state[name], tensor)]
    if different:
        sys.exit(f"{len(different)} tensors differ from {source}/pytorch_model.bin: {', '.join(different[:5])}")

    print(f"    from_pretrained: {loaded - begin:.2f} s; {len(expected)} tensors equal those of pytorch_model.bin")
    print(f"    generate: {generated - loaded:.2f} s; {len(tokens) - inputs.input_ids.shape[1]} new tokens")
    print()
    print("    " + tokenizer.decode(tokens, skip_special_tokens=True))


if __name__ == "__main__":
    main()
