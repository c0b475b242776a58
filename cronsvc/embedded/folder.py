"""A server's data folder: who owns it now, which user works in it, and where its sockets are.

Taking a folder creates it, locks it for this process and makes it usable by the account the server will run as. No
permission of a folder that was there before is ever changed.
"""

import fcntl
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cronsvc.embedded.errors import EmbeddedError

LOCK_NAME = ".lock"
# sun_path holds 108 bytes on Linux and 104 on macOS, and the socket's own name needs some of them.
LONGEST_SOCKET_FOLDER = 80


@dataclass(frozen=True, slots=True)
class Account:
    """The user that root's servers run as."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Folder:
    """A data folder that this process owns until `release()`. `account` is None when servers run as ourselves."""

    path: Path
    sockets: Path
    account: Account | None
    lock: int

    def open(self, name: str, flags: int) -> int:
        """Open one of our own files, made private and given to the account if new; a descriptor."""
        descriptor = _open(self.path / name, flags)
        self.give(self.path / name)
        return descriptor

    def give(self, path: Path) -> None:
        """Hand a file or folder that we made to the account the servers run as."""
        _give(path, self.account)

    def release(self) -> None:
        """Let another process take the folder."""
        if self.sockets.parent != self.path:
            shutil.rmtree(self.sockets, ignore_errors=True)
            (self.path / "run").unlink(missing_ok=True)
        os.close(self.lock)


def take(data_dir: Path, *, user: str) -> Folder:
    """Own this folder, creating it if need be; `user` is who root's servers run as.

    EmbeddedError: another process owns it, it holds something else, or it cannot be used by us or by that user.
    """
    path = data_dir.expanduser().resolve()
    try:
        _create(path)
        if not (path / LOCK_NAME).exists() and any(path.iterdir()):
            raise EmbeddedError(f"{path} holds files that are not cronsvc's: choose another data folder")
        lock = _lock(path)
    except OSError as error:
        raise EmbeddedError(f"cannot use {path} as a data folder: {error.strerror}") from error
    try:
        account = _account_for(path, user)
        if account:
            _hand_over(path, account)
        return Folder(path, _socket_folder(path, account), account, lock)
    except BaseException:
        os.close(lock)
        raise


def _create(path: Path) -> None:
    """As mkdir -p, with the data folder private and the parents it makes passable for the account of root's servers."""
    missing = [parent for parent in path.parents if not parent.exists()]
    for parent in reversed(missing):
        parent.mkdir()
        if os.geteuid() == 0:
            parent.chmod(0o711)
    path.mkdir(mode=0o700, exist_ok=True)


def _lock(path: Path) -> int:
    """The kernel frees this lock when we die, however we die; children do not inherit it."""
    lock = _open(path / LOCK_NAME, os.O_RDWR)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.read(lock, 20).decode(errors="replace").strip() or "unknown"
        os.close(lock)
        raise EmbeddedError(f"another cronsvc already uses {path} (process {owner})") from None
    os.ftruncate(lock, 0)
    os.write(lock, f"{os.getpid()}\n".encode())
    return lock


def _account_for(path: Path, user: str) -> Account | None:
    """Postgres refuses to be root: then it is whoever owns the folder already, or `user` for a new one."""
    if os.geteuid() != 0:
        return None
    owner = path.stat().st_uid
    try:
        entry = pwd.getpwuid(owner) if owner != 0 else pwd.getpwnam(user)
    except KeyError:
        missing = owner if owner != 0 else user
        raise EmbeddedError(f"Postgres refuses to run as root, and there is no user {missing} to run it as") from None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _hand_over(path: Path, account: Account) -> None:
    if path.stat().st_uid == 0:
        for entry in (path, *path.rglob("*")):
            _give(entry, account)
    _give(path / LOCK_NAME, account)
    entered = subprocess.run(  # noqa: S603 the path is an argument, not part of the script
        ["/bin/sh", "-c", 'cd -- "$1"', "sh", path],
        user=account.uid,
        group=account.gid,
        extra_groups=[],
        cwd="/",
        stderr=subprocess.DEVNULL,
        check=False,
    )
    if entered.returncode:
        raise EmbeddedError(
            f"{path} is inside a folder that the user {account.name} may not enter, and Postgres refuses to run as "
            f"root: choose another data folder, such as /var/lib/cronsvc"
        )


def _open(path: Path, flags: int) -> int:
    """Root works in a folder that another account owns: no link of that account's may lead root's writing elsewhere."""
    return os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def _give(path: Path, account: Account | None) -> None:
    if account:
        os.chown(path, account.uid, account.gid, follow_symlinks=False)


def _socket_folder(path: Path, account: Account | None) -> Path:
    """`run` in the data folder, or a short private folder that `run` then links to.

    Postgres splits unix_socket_directories at commas, so a path with one needs the short folder too.
    """
    own = path / "run"
    if own.is_symlink():
        if _is_private(own.readlink(), account):
            return own.readlink()
        own.unlink()
    if len(os.fsencode(own)) <= LONGEST_SOCKET_FOLDER and "," not in str(own):
        own.mkdir(mode=0o700, exist_ok=True)
        _give(own, account)
        return own
    short = Path(tempfile.mkdtemp(prefix="cronsvc-", dir="/tmp"))  # not TMPDIR: that is long on macOS
    _give(short, account)
    own.symlink_to(short)
    return short


def _is_private(path: Path, account: Account | None) -> bool:
    """Whether an earlier owner's short folder is still ours alone, and not somebody's trap in a shared /tmp."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    uid = account.uid if account else os.geteuid()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == uid and not found.st_mode & 0o077
