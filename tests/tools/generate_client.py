"""Writes `cronsvc/client/generated` from the OpenAPI document: `python -m tests.tools.generate_client`.

The same document always gives the same files. An operation that fits none of the shapes below is refused here, with
words, rather than generated wrongly; `client_names` is where a name can be chosen by hand.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cronsvc.web.openapi import openapi_document
from cronsvc.web.routes import API_ROUTES
from tests.tools.client_models import Models
from tests.tools.client_operations import Operations

FOLDER = Path(__file__).parents[2] / "cronsvc" / "client" / "generated"
HEADER = "Made by `python -m tests.tools.generate_client` from the OpenAPI document: change the routes, not this file."


def document() -> dict[str, Any]:
    """The document of the service's own routes, as anybody who fetches it reads it."""
    found: dict[str, Any] = json.loads(json.dumps(openapi_document(API_ROUTES, version="generated")))
    return found


def generate(source: Mapping[str, Any]) -> dict[str, str]:
    """The text of every file, by name."""
    models = Models(source)
    operations = Operations(source, models)
    own = {
        "__init__.py": f'"""The operations and the models of the API.\n\n{HEADER}\n"""\n',
        "words.py": models.words(HEADER),
        "answers.py": models.answers(HEADER),
        "requests.py": models.requests(HEADER),
        "index.py": operations.index(HEADER),
    }
    modules = operations.modules(HEADER)
    if own.keys() & modules.keys():
        raise ValueError(f"a tag has the name of another file: {sorted(own.keys() & modules.keys())}")
    return dict(sorted((own | modules).items()))


def write(files: Mapping[str, str], folder: Path = FOLDER) -> list[str]:
    """Make the folder hold these files and no other Python; returns the names of those that changed."""
    folder.mkdir(parents=True, exist_ok=True)
    changed = []
    for old in sorted(folder.glob("*.py")):
        if old.name not in files:
            old.unlink()
            changed.append(old.name)
    for name, text in files.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            changed.append(name)
    return changed


if __name__ == "__main__":
    print("\n".join(write(generate(document()))) or "everything is up to date", file=sys.stderr)
