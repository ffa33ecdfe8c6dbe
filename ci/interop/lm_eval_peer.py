"""Evaluates folders with lm-evaluation-harness and with `b158 eval` on the same documents and compares them.

Prompts are the harness's own: its built-in tasks, told to read local files. Of full-precision models every metric is to
be equal; of ternary ones an activation next to a rounding boundary may get another code (see twins_peer.py), so their
log-likelihoods are bounded, and how many answers differ is shown.

A folder with a `tokenizer.model` alone is compared through the `tokenizer.json` that transformers makes of it, which
keeps double and trailing blanks where SentencePiece itself, and b158, remove them.
"""

import time

START = time.monotonic()

import json
import logging
import math
import os
import pathlib
import statistics
import sys
import tempfile

import datasets
import lm_eval
import lm_eval.tasks
import torch
import twins_peer
from b158 import b158
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from transformers import AutoTokenizer
from transformers.integrations.bitnet import AutoBitLinear

# Task here, definition there, split that is evaluated.
TASKS = {
    "arc_easy": ("arc/arc_easy.yaml", "test"),
    "arc_challenge": ("arc/arc_challenge.yaml", "test"),
    "hellaswag": ("hellaswag/hellaswag.yaml", "validation"),
    "boolq": ("super_glue/boolq/default.yaml", "validation"),
    "openbookqa": ("openbookqa/openbookqa.yaml", "test"),
    "piqa": ("piqa/piqa.yaml", "validation"),
    "winogrande": ("winogrande/default.yaml", "validation"),
    "lambada_openai": ("lambada/lambada_openai.yaml", "test"),
    "wikitext": ("wikitext/wikitext.yaml", "test"),
}
# Where a task's data is named otherwise.
STEMS = {"lambada_openai": ["lambada_openai", "lambada"]}

# Nats a request: two f32 implementations of LLaMA differ by 3e-6 a token, and requests have up to a thousand.
DENSE = 3e-3
# Of a ternary model, requests meet code flips: references in f32 and f64 differ by up to 0.5 nats in 200 tokens. So
# many nats for each 200 tokens, in so many requests of a hundred. An answer then differs where two choices are nearly
# equal, in at most so many of a hundred; perplexities differ by at most this part.
NATS, REQUESTS = 0.8, 97
ANSWERS, PERPLEXITY = 0.04, 0.05

logging.disable(logging.WARNING)
torch.set_grad_enabled(False)


def find(data, task, split):
    for stem in STEMS.get(task, [task]):
        for name in (f"{stem}-{split}.jsonl", f"{stem}.jsonl"):
            if (data / name).exists():
                return data / name
    return None


def prepare(data, limit, folder):
    """The first documents of each task as files that both read; the harness's definitions pointed at them."""
    tasks = []
    root = pathlib.Path(lm_eval.tasks.__file__).parent
    for task, (definition, split) in TASKS.items():
        source = find(data, task, split)
        if source is None:
            print(f"left out: {task}, {data} has no {task}-{split}.jsonl")
            continue
        with open(source, encoding="utf-8") as lines:
            rows = [line for _, line in zip(range(limit), lines)]
        stem = STEMS.get(task, [task])[-1]
        file = folder / f"{stem}-{split}.jsonl"
        file.write_text("".join(rows), encoding="utf-8")
        (folder / f"{task}.yaml").write_text(
            f"include: {root / definition}\ntask: local_{task}\ntag: null\ndataset_path: json\ndataset_name: null\n"
            f"dataset_kwargs:\n  data_files:\n    {split}: {file}\n"
            f"training_split: null\nvalidation_split: {split if split == 'validation' else 'null'}\n"
            f"test_split: {split if split == 'test' else 'null'}\nfewshot_split: null\n",
            encoding="utf-8",
        )
        tasks.append(task)
    return tasks


class Recorder(HFLM):
    """The harness's model, with the log-likelihoods of its requests kept."""

    def _loglikelihood_tokens(self, requests, **options):
        answers = super()._loglikelihood_tokens(requests, **options)
        self.seen = getattr(self, "seen", {})
        for (_, context, continuation), (value, _) in zip(requests, answers):
            self.seen[tuple(context), tuple(continuation)] = value
        return answers


def with_tokenizer(folder, work):
    """The folder, or a copy of it with the `tokenizer.json` that it lacks."""
    if (folder / "tokenizer.json").exists():
        return folder
    print(f"{folder.name}: both read the tokenizer.json that transformers makes of its tokenizer.model")
    copy = work / folder.name
    copy.mkdir()
    AutoTokenizer.from_pretrained(folder).save_pretrained(copy)
    for file in folder.iterdir():
        if file.name not in ("tokenizer.model", "tokenizer_config.json"):
            (copy / file.name).symlink_to(file)
    return copy


def theirs(folder, tasks, definitions, batch_sizes):
    """Metrics by task, log-likelihoods by token ids, seconds of loading, seconds of evaluation for each batch size,
    and whether the model is ternary. Tasks that the harness gives up on are left out."""
    start = time.monotonic()
    model, _ = twins_peer.load(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    torch.set_num_threads(os.cpu_count())
    loading = time.monotonic() - start
    manager = TaskManager(include_path=str(definitions))
    metrics, seen, seconds = {}, {}, dict.fromkeys(batch_sizes, 0.0)
    for size in batch_sizes:
        lm = Recorder(pretrained=model, tokenizer=tokenizer, batch_size=size, device="cpu")
        for task in list(tasks):
            start = time.monotonic()
            try:
                name = f"local_{task}"
                results = lm_eval.simple_evaluate(model=lm, tasks=[name], task_manager=manager)
            except AssertionError as error:
                print(f"left out: {task}, which the harness gives up on: {error!r}"[:200])
                tasks.remove(task)
                continue
            seconds[size] += time.monotonic() - start
            metrics[task] = results["results"][name]
        seen = lm.seen
    ternary = any(isinstance(m, AutoBitLinear) for m in model.modules())
    return metrics, seen, loading, seconds, ternary


def ours(folder, tasks, data):
    """Metrics, log-likelihoods, and the seconds of the whole command, of `b158 eval`."""
    with tempfile.TemporaryDirectory() as out:
        start = time.monotonic()
        document = b158("eval", "--model", f"m={folder}", "--tasks", ",".join(tasks), "--data", data, "-o", out)
        seconds = time.monotonic() - start
        rows = datasets.Dataset.from_parquet(f"{out}/samples.parquet", cache_dir=f"{out}/cache").to_list()
    seen = {(tuple(r["ctx_ids"]), tuple(r["cont_ids"])): r["loglikelihood"] for r in rows}
    return document["results"]["m"], seen, seconds


def compare(folder, tasks, work, batch_sizes):
    folder, tasks = with_tokenizer(folder, work), list(tasks)
    metrics_there, seen_there, loading, seconds_there, ternary = theirs(folder, tasks, work, batch_sizes)
    metrics_here, seen_here, seconds_here = ours(folder, tasks, work)
    failures = []
    if seen_here.keys() != seen_there.keys():
        odd = len(seen_here.keys() ^ seen_there.keys())
        failures.append(f"{odd} of {len(seen_there)} requests have other token ids")
    off = {ids: abs(seen_here[ids] - seen_there[ids]) for ids in seen_here.keys() & seen_there.keys()}
    if ternary:
        near = [nats <= NATS * math.ceil(sum(map(len, ids)) / 200) for ids, nats in off.items()]
        if sum(near) * 100 < REQUESTS * len(near):
            failures.append(f"log-likelihoods differ by more than {NATS} nats for each 200 tokens in "
                            f"{len(near) - sum(near)} of {len(near)} requests")
    elif max(off.values()) > DENSE:
        failures.append(f"log-likelihoods differ by {max(off.values()):.2e} nats, allowed {DENSE}")
    off = off.values()
    print(f"\n{folder.name} ({'ternary' if ternary else 'dense'}), {len(off)} requests with equal token ids; "
          f"log-likelihoods off by {max(off):.1e} nats at most, {statistics.median(off):.1e} at the median")
    print(f"b158 {seconds_here:.1f} s, the whole command; lm-eval's start {STARTED:.1f} s, loading {loading:.1f} s")
    for size, seconds in seconds_there.items():
        whole = STARTED + loading + seconds
        print(f"lm-eval, batch size {size}: {seconds:.1f} s, {seconds / seconds_here:.1f} times as long; "
              f"as a command {whole:.1f} s, {whole / seconds_here:.1f} times as long")
    for task in tasks:
        for name, there in metrics_there[task].items():
            metric = name.split(",")[0]
            if name == "alias" or metric.endswith("_stderr") or not isinstance(there, float):
                continue
            here = metrics_here[task][name]
            if metric.startswith("acc"):
                agrees = abs(here - there) <= (ANSWERS if ternary else 1e-12)
            else:
                agrees = abs(here / there - 1) <= (PERPLEXITY if ternary else 1e-4)
            mark = "" if agrees else "   DIFFERS"
            print(f"  {task:16}{metric:18}{there:26.6f}{here:26.6f}{mark}")
            if not agrees:
                failures.append(f"{task} {metric}: {there} there, {here} here")
    return [f"{folder.name}: {failure}" for failure in failures]


STARTED = time.monotonic() - START


def main():
    data, limit, batch_sizes, folders = pathlib.Path(sys.argv[1]), *sys.argv[2:4], sys.argv[4:]
    failures = []
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        tasks = prepare(data, int(limit), work)
        if not tasks:
            raise SystemExit(f"{data} has the data of no task")
        for folder in map(pathlib.Path, folders):
            failures += compare(folder, tasks, work, [int(size) for size in batch_sizes.split(",")])
    if failures:
        raise SystemExit("\n".join(failures))


main()
