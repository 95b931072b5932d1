"""Write all-MiniLM-L6-v2.json: sentences and the vectors a correct embedder gives them.

Made with Python 3.11, torch 2.15.0, transformers 5.23.0 and tokenizers 0.23.3, on a CPU
in 32-bit floats, one sentence at a time so that no padding is involved:

    pip install torch==2.15.0 transformers==5.23.0 tokenizers==0.23.3
    HF_HUB_OFFLINE=1 python tests/reference/embed.py .runtime/models/all-MiniLM-L6-v2

The sentences are read from the JSON file itself, so adding one means adding
{"text": "..."} there and running this again. `tokens` counts [CLS] and [SEP] too.
"""
import json
import sys
from pathlib import Path

import torch
from transformers import AutoModel, AutoTokenizer

REFERENCE = Path(__file__).with_name("all-MiniLM-L6-v2.json")


def embed(text, tokenizer, model, max_length):
    # The tokenizer file asks for 128 tokens and padding; what counts is max_seq_length.
    inputs = tokenizer(text, truncation=True, max_length=max_length, padding=False, return_tensors="pt")
    with torch.no_grad():
        states = model(**inputs).last_hidden_state
    mask = inputs["attention_mask"].unsqueeze(-1).float()
    mean = (states * mask).sum(dim=1) / mask.sum(dim=1)
    vector = torch.nn.functional.normalize(mean, dim=1)[0]
    return inputs["input_ids"].shape[1], [round(value, 6) for value in vector.tolist()]


def main():
    folder = Path(sys.argv[1])
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    max_length = json.loads((folder / "sentence_bert_config.json").read_text())["max_seq_length"]

    rows = []
    for sentence in json.loads(REFERENCE.read_text(encoding="utf-8"))["sentences"]:
        tokens, vector = embed(sentence["text"], tokenizer, model, max_length)
        row = {"text": sentence["text"], "tokens": tokens, "vector": vector}
        rows.append(json.dumps(row, ensure_ascii=False, separators=(",", ":")))
    head = f'{{"model": "all-MiniLM-L6-v2", "max_seq_length": {max_length}, "sentences": [\n'
    REFERENCE.write_text(head + ",\n".join(rows) + "\n]}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
