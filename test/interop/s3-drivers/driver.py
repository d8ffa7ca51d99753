"""Reads a plan from the input, runs its stages a few steps at a time, prints the results. Used by both drivers."""

import hashlib
import json
import sys
from concurrent.futures import ThreadPoolExecutor


def run(connect):
    """`connect(plan)` gives `(perform, describe)`: one carries a step out, the other turns its exception into an error."""
    plan = json.load(sys.stdin)
    with open(plan["dataFile"], "rb") as file:
        data = memoryview(file.read())
    perform, describe = connect(plan)

    def one(step):
        try:
            payload = data[step["offset"] : step["offset"] + step["size"]] if "offset" in step else None
            return perform(step, payload)
        except Exception as error:  # each failure is a result
            return {"error": describe(error)}

    with ThreadPoolExecutor(4) as pool:
        results = [list(pool.map(one, stage)) for stage in plan["stages"]]
    json.dump(results, sys.stdout)


def present(**members):
    """Only the members that are there."""
    return {name: value for name, value in members.items() if value is not None}


def digest(chunks):
    """SHA-256 and length of what a body gives."""
    sha, size = hashlib.sha256(), 0
    for chunk in chunks:
        sha.update(chunk)
        size += len(chunk)
    return {"sha256": sha.hexdigest(), "size": size}
