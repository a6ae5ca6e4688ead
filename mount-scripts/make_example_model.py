"""Makes the quick start's model: a small GPT-2 that learned one paragraph, saved the old way as pytorch_model.bin.

    python make_example_model.py DIR

Everything is made here and now (tokenizer, weights), so no network is needed and no model is shipped.
"""

import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

END = "<|endoftext|>"
TEXT = (
    "A checkpoint is a file that nobody wants to convert twice. So the file stays where it is, and a mount shows it as "
    "the model that loaders expect. Every byte is made when it is read, and no disk is spent."
)
STEPS = 120


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer trained on the paragraph."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=512, special_tokens=[END], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([TEXT] * 4, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=END, eos_token=END, pad_token=END)


def train(model: GPT2LMHeadModel, ids: torch.Tensor) -> float:
    """Teaches `model` the one sequence `ids`; the last loss."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(STEPS):
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return loss.item()


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    tokenizer = make_tokenizer()
    config = GPT2Config(
        vocab_size=len(tokenizer), n_positions=128, n_embd=128, n_layer=4, n_head=4,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        architectures=["GPT2LMHeadModel"], dtype="float32",
    )
    model = GPT2LMHeadModel(config)
    loss = train(model, tokenizer(TEXT + END, return_tensors="pt").input_ids)
    model.config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    size = (folder / "pytorch_model.bin").stat().st_size
    print(f"    {sum(p.numel() for p in model.parameters()):,} parameters, {STEPS} steps, loss {loss:.3f}; "
          f"pytorch_model.bin is {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
