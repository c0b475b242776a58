"""What runs in a child before it becomes the command: bind it to the worker's life, then exec.

Without it a command would outlive a worker that was killed, and run beside its own retry. Started as an isolated
script (`-I -S`, some 15 ms) rather than as preexec_fn, which may deadlock in a process with threads. Arguments: the
worker's pid, then the command.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def bind(owner: int) -> None:
    """Have the kernel (Linux) end this process when the thread that started it ends; leave if that has happened."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != owner:
        os._exit(127)


def main(arguments: list[str]) -> None:
    """Become the command, or leave with 127 and a line on stderr."""
    bind(int(arguments[0]))
    command = arguments[1:]
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and exec would pass that on
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execv(command[0], command)  # noqa: S606 no shell is the point
    except OSError as error:
        sys.exit(f"cannot run {command[0]}: {error.strerror}")


if __name__ == "__main__":
    main(sys.argv[1:])
