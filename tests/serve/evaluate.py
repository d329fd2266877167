"""lm-eval against `nemotron serve`: its log-likelihoods are those of `nemotron perplexity`.

Usage: python evaluate.py --nemotron PATH --model DIR

Runs from the repository's root, without the network. Prints both numbers for each text; the exit code is 1 where they differ.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

import checks
from clients import Server

TASKS = pathlib.Path("tests/serve/evaluation")


def of_lm_eval(server, model):
    """Log-likelihoods of the task's continuations, in order."""
    with tempfile.TemporaryDirectory() as folder:
        options = f"model={server.name},base_url={server.url}/v1/completions,tokenizer={model},num_concurrent=4," \
            "tokenizer_backend=huggingface,add_bos_token=True,max_length=1023"
        command = [str(pathlib.Path(sys.executable).parent / "lm_eval"), "run", "--model", "local-completions", "--model_args",
                   options, "--tasks", "nemotron_stories", "--include_path", str(TASKS), "--output_path", folder, "--log_samples"]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_DATASETS_CACHE": folder,
                       "OPENAI_API_KEY": "none", "PYTHONUTF8": "1"}
        subprocess.run(command, check=True, env=environment)
        samples = next(pathlib.Path(folder).rglob("samples_*.jsonl")).read_text().splitlines()
    samples = sorted(map(json.loads, samples), key=lambda sample: sample["doc_id"])
    return [float(sample["filtered_resps"][0][0]) for sample in samples]


def of_perplexity(arguments, server, story):
    """The same by the command: the rest of a story are the last tokens of a window that has all of it."""
    count = lambda text: server.post("/tokenize", {"prompt": text})[1]["count"]
    whole, begin = count(story["begin"] + story["rest"]), count(story["begin"])
    command = [arguments.nemotron, "perplexity", "--model", arguments.model, "--device", "cpu", "--quiet", "--json", "--prompt",
               story["begin"] + story["rest"], "--context", str(whole), "--stride", str(whole - begin)]
    found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    assert found["scored"] == whole - begin, found
    return -found["mean_nll"] * found["scored"]


def main():
    arguments = checks.parser(__doc__).parse_args()
    stories = [json.loads(line) for line in (TASKS / "stories.jsonl").read_text().splitlines()]
    server = Server(arguments.nemotron, arguments.model, stderr=subprocess.DEVNULL)
    try:
        served = of_lm_eval(server, arguments.model)
        own = [of_perplexity(arguments, server, story) for story in stories]
    finally:
        server.stop()
    for story, a, b in zip(stories, served, own):
        print(f"{a:12.6f} {b:12.6f}  {story['begin']} …")
    same = len(served) == len(stories) and all(abs(a - b) < 1e-3 for a, b in zip(served, own))
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
