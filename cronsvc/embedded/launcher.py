"""What runs in a child before it becomes the server: bind it to its owner, drop root, exec.

Started as a script of its own rather than as Popen's preexec_fn, which may deadlock in a process with threads. It
imports nothing of ours and runs isolated (`-I -S`), so it costs some 15 ms. Arguments: the owner's pid, the signal that
the owner's death should send, uid and gid (-1: stay who we are), then the command.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Become the command, or leave with 127 and a line for the log."""
    owner, death_signal, uid, gid = (int(argument) for argument in arguments[:4])
    command = arguments[4:]
    if uid >= 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if sys.platform.startswith("linux"):
        # After setuid, which clears it. It survives exec, and fires when the thread that started us ends.
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    if os.getppid() != owner:  # it died before we were bound to it
        sys.exit(127)
    os.umask(0o077)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and exec would pass that on
    try:
        os.execv(command[0], command)  # noqa: S606 no shell is the point
    except OSError as error:
        sys.exit(f"cannot run {command[0]}: {error.strerror}")


if __name__ == "__main__":
    main(sys.argv[1:])
