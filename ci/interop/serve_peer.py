"""lm-evaluation-harness and the openai client through `b158 serve`, against `b158 eval` and `b158 run`.

Prompts and metrics are the harness's own: its built-in tasks, told to read local files, through its client
`local-completions` (token ids, eight requests at once, four prompts each). Nothing may differ: the same tasks have the
same token ids, JSON keeps every bit of a double, and the server's bits do not depend on what else it runs.
"""

import contextlib
import json
import logging
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import datasets
import lm_eval
import lm_eval.tasks
import openai
from b158 import COMMAND, b158
from lm_eval.models.openai_completions import LocalCompletionsAPI
from lm_eval.tasks import TaskManager

# Task here, definition there, split that is evaluated, how the data may be named.
TASKS = [
    ("arc_easy", "arc/arc_easy.yaml", "test", "arc_easy"),
    ("arc_challenge", "arc/arc_challenge.yaml", "test", "arc_challenge"),
    ("hellaswag", "hellaswag/hellaswag.yaml", "validation", "hellaswag"),
    ("boolq", "super_glue/boolq/default.yaml", "validation", "boolq"),
    ("openbookqa", "openbookqa/openbookqa.yaml", "test", "openbookqa"),
    ("piqa", "piqa/piqa.yaml", "validation", "piqa"),
    ("winogrande", "winogrande/default.yaml", "validation", "winogrande"),
    ("lambada_openai", "lambada/lambada_openai.yaml", "test", "lambada"),
    ("wikitext", "wikitext/wikitext.yaml", "test", "wikitext"),
]
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ m.role | capitalize }}: {{ m.content | trim }}\n{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)

logging.disable(logging.WARNING)


def prepare(data, limit, folder):
    """The first documents of each task as files that both read; the harness's definitions pointed at them."""
    root = pathlib.Path(lm_eval.tasks.__file__).parent
    for task, definition, split, stem in TASKS:
        names = [data / f"{name}.jsonl" for name in (f"{task}-{split}", f"{stem}-{split}", task, stem)]
        source = next((name for name in names if name.exists()), None)
        if source is None:
            print(f"left out: {task}, {data} has no {task}-{split}.jsonl")
            continue
        with open(source, encoding="utf-8") as lines:
            rows = [line for _, line in zip(range(limit), lines)]
        file = folder / f"{stem}-{split}.jsonl"
        file.write_text("".join(rows), encoding="utf-8")
        (folder / f"{task}.yaml").write_text(
            f"include: {root / definition}\ntask: local_{task}\ntag: null\ndataset_path: json\ndataset_name: null\n"
            f"dataset_kwargs:\n  data_files:\n    {split}: {file}\n"
            f"training_split: null\nvalidation_split: {split if split == 'validation' else 'null'}\n"
            f"test_split: {split if split == 'test' else 'null'}\nfewshot_split: null\n",
            encoding="utf-8",
        )
        yield task


@contextlib.contextmanager
def serving(folder, *options):
    """A server, and the address of its API."""
    command = [COMMAND, "serve", folder, "--port", "0", "--json", *options]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        line = server.stdout.readline()
        if not line:
            raise SystemExit("the server does not start")
        yield json.loads(line)
        server.terminate()
        if server.wait(timeout=30) != 0:
            raise SystemExit(f"the server ended with {server.returncode}")
    finally:
        server.kill()


class Recorder(LocalCompletionsAPI):
    """The harness's client, with the scores of its requests kept."""

    def _loglikelihood_tokens(self, requests, **options):
        start = time.monotonic()
        answers = list(super()._loglikelihood_tokens(requests, **options))
        self.asking = getattr(self, "asking", 0.0) + time.monotonic() - start
        self.seen = getattr(self, "seen", {})
        for (_, context, continuation), answer in zip(requests, answers):
            self.seen[tuple(context), tuple(continuation)] = answer
        return answers


def through_the_server(folder, address, tasks, definitions, max_length, backend):
    """Metrics by task, scores by token ids, seconds in all and for the requests."""
    bos = json.loads((folder / "config.json").read_text())["bos_token_id"]
    remote = backend == "remote"
    lm = Recorder(
        base_url=f"{address['url']}/v1/completions", model=address["model"], tokenizer_backend=backend,
        tokenizer=None if remote else str(folder), num_concurrent=8, batch_size=4, max_retries=1,
        # One is for the token that the client has generated and does not use, one for the token that is only predicted.
        max_length=max_length + 2, custom_prefix_token_id=bos, add_bos_token=not remote,
    )
    start = time.monotonic()
    results = lm_eval.simple_evaluate(
        model=lm, tasks=[f"local_{t}" for t in tasks], bootstrap_iters=0,
        task_manager=TaskManager(include_path=str(definitions)),
    )
    return {t: results["results"][f"local_{t}"] for t in tasks}, lm.seen, time.monotonic() - start, lm.asking


def directly(folder, tasks, data, max_length, *options):
    """The same of `b158 eval`."""
    with tempfile.TemporaryDirectory() as out:
        start = time.monotonic()
        document = b158("eval", "--model", f"m={folder}", "--tasks", ",".join(tasks), "--data", data,
                        "--max-length", max_length, *options, "-o", out)
        seconds = time.monotonic() - start
        rows = datasets.Dataset.from_parquet(f"{out}/samples.parquet", cache_dir=f"{out}/cache").to_list()
    seen = {(tuple(r["ctx_ids"]), tuple(r["cont_ids"])): (r["loglikelihood"], r["greedy"]) for r in rows}
    return document["results"]["m"], seen, seconds


def compare(folder, tasks, work):
    """Prints a line for each tokenizer, and yields what differs."""
    with serving(folder) as address:
        max_length = address["context"] - 1
        for backend, options in (("huggingface", []), ("remote", ["--add-bos", "false"])):
            metrics_there, there, seconds_there, asking = through_the_server(folder, address, tasks, work, max_length, backend)
            metrics_here, here, seconds_here = directly(folder, tasks, work, max_length, *options)
            same = sum(here.get(ids) == score for ids, score in there.items())
            name = f"{folder.name}, {'its own' if backend == 'huggingface' else 'the server' + chr(39) + 's'} tokenizer"
            figures = [
                (task, metric, value, metrics_here[task][metric])
                for task in tasks for metric, value in metrics_there[task].items()
                if isinstance(value, float) and "_stderr" not in metric
            ]
            equal = sum(a == b for _, _, a, b in figures)
            accuracies = [a for _, metric, a, _ in figures if metric == "acc,none"]
            print(f"| {name} | {same} of {len(there)} | {equal} of {len(figures)} | {sum(accuracies) / max(len(accuracies), 1):.6f} | "
                  f"{seconds_there:.1f} | {asking:.1f} | {seconds_here:.1f} |", flush=True)
            if same != len(there) or set(there) != set(here):
                yield f"{name}: {len(there) - same} scores differ, {len(set(there) ^ set(here))} requests are not of both"
            # The harness adds up and averages in an order of its own.
            yield from (f"{name}: {task} {metric}: {a} there, {b} here" for task, metric, a, b in figures
                        if abs(a - b) > 1e-9 * abs(b))


def chat(folder, work):
    """The openai client, streaming and not, and the same prompt with `b158 run`."""
    copy = work / f"chat-{folder.name}"
    shutil.copytree(folder, copy)
    (copy / "chat_template.jinja").write_text(TEMPLATE)
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "The keeper"}]
    with serving(copy, "--api-key", "sesame") as address:
        client = openai.OpenAI(base_url=f"{address['url']}/v1", api_key="sesame", max_retries=0)
        ask = dict(model=client.models.list().data[0].id, messages=messages, max_tokens=40, temperature=0.8, seed=7)
        whole = client.chat.completions.create(**ask, logprobs=True, top_logprobs=3)
        stream = client.chat.completions.create(**ask, stream=True, stream_options={"include_usage": True})
        pieces, usage = [], None
        for chunk in stream:
            usage = chunk.usage or usage
            pieces += [choice.delta.content or "" for choice in chunk.choices]
        text = whole.choices[0].message.content
        assert "".join(pieces) == text and usage == whole.usage, (pieces, text, usage, whole.usage)
        assert len(whole.choices[0].logprobs.content) == usage.completion_tokens
        completion = client.completions.create(model=ask["model"], prompt="The keeper", max_tokens=20, temperature=0)
        try:
            client.embeddings.create(model=ask["model"], input="x")
            raise AssertionError("embeddings are not offered")
        except openai.NotFoundError as error:
            assert error.code == "unknown_url", error
        try:
            openai.OpenAI(base_url=f"{address['url']}/v1", api_key="wrong", max_retries=0).models.list()
            raise AssertionError("the key is wrong")
        except openai.AuthenticationError:
            pass
    template = "System: Be brief.\nUser: The keeper\nAssistant:"
    run = b158("run", copy, "-p", template, "-n", 40, "--temp", 0.8, "--seed", 7)
    assert run["text"] == text, (run["text"], text)
    assert b158("run", copy, "-p", "The keeper", "-n", 20)["text"] == completion.choices[0].text
    print(f"\nopenai {openai.__version__}, {folder.name}: a chat of {usage.completion_tokens} tokens in {len(pieces)} pieces "
          "is the chat without streaming, and that of `b158 run`")


def main():
    data, limit, folders = pathlib.Path(sys.argv[1]), int(sys.argv[2]), [pathlib.Path(f) for f in sys.argv[3:]]
    failures = []
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        tasks = list(prepare(data, limit, work))
        if not tasks:
            raise SystemExit(f"{data} has the data of no task")
        print(f"lm_eval {lm_eval.__version__}, local-completions, {', '.join(tasks)}\n")
        print("| model | scores with equal bits | equal metrics | mean acc | seconds of lm_eval | of them for requests | seconds of b158 eval |")
        print("|---|---:|---:|---:|---:|---:|---:|")
        for folder in folders:
            failures += compare(folder, tasks, work)
        chat(folders[0], work)
    if failures:
        raise SystemExit("\n".join(failures))


main()
