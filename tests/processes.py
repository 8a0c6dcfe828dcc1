"""Processes that tests start: they hear Ctrl-C, and none outlives its test."""

import contextlib
import os
import signal
import subprocess

# A test waits for what happens, however long that takes; after this many seconds nothing will happen any more.
HANG_S = 3600

# Python handles Ctrl-C only where it was not started with the signal ignored, as a shell's background jobs are.
HEAR_CTRL_C = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "


@contextlib.contextmanager
def started(arguments, **options):
    """Start a process as ``subprocess.Popen`` does; at the end of the block it and all that it started are killed."""
    process = subprocess.Popen(list(map(str, arguments)), start_new_session=True, **options)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # the latter on macOS, of one that has ended
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()


def finished(arguments, *, input=None, **options):
    """Run a process to its end as ``subprocess.run`` does, and return what it printed."""
    streams = {"stdin": subprocess.DEVNULL if input is None else subprocess.PIPE}
    streams |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with started(arguments, **streams | options) as process:
        out, err = process.communicate(input, timeout=HANG_S)
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


def signal_at(number, what):
    """Return code that makes a process send itself a signal as it puts so many files into their places."""
    hook = f"lambda event, _: event == 'os.rename' and next(count) == {number} and os.kill(os.getpid(), {int(what)})"
    return f"import itertools, os, sys; count = itertools.count(1); sys.addaudithook({hook})"
