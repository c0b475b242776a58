"""What runs in the process of `matching`: one search; its exit code is the answer. It imports nothing of ours."""

import json
import re
import sys

FOUND, NOT_FOUND, NO_PATTERN = 10, 11, 12

if __name__ == "__main__":
    given = json.loads(sys.stdin.buffer.read())
    try:
        pattern = re.compile(given["pattern"])
    except (re.error, RecursionError, OverflowError) as error:
        sys.stdout.buffer.write(str(error)[:200].encode(errors="replace"))
        sys.exit(NO_PATTERN)
    sys.exit(FOUND if pattern.search(given["text"]) else NOT_FOUND)
