"""What the scripts beside this one have in common: the options that name a program and a model, and the runner of checks."""

import argparse
import traceback


def parser(usage):
    """The options of a script that runs `nemotron serve`; `usage` is what it says of itself."""
    options = argparse.ArgumentParser(description=usage, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--nemotron", required=True)
    options.add_argument("--model", required=True)
    return options


def run(checks, *given):
    """Calls each check with what is given and prints a line for it. The exit code is 1 if one failed."""
    failed = 0
    for check in checks:
        try:
            check(*given)
            print(f"ok      {check.__name__}", flush=True)
        except Exception:
            failed += 1
            print(f"FAILED  {check.__name__}\n{traceback.format_exc()}", flush=True)
    return 1 if failed else 0
