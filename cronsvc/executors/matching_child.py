"""What runs in the process of `matching`: one search; its exit code is the answer. It imports nothing of ours."""

import json
import re
import sys

FOUND, NOT_FOUND = 10, 11

if __name__ == "__main__":
    given = json.loads(sys.stdin.buffer.read())
    sys.exit(FOUND if re.search(given["pattern"], given["text"]) else NOT_FOUND)
