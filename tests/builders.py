"""Builds in processes of their own."""

import contextlib
import json
import sys
from subprocess import PIPE

from .conftest import child_environment
from .processes import started

# Imports and compiled code take seconds, a build less: one process has them, and each build is a fork of it.
BUILDERS = """
import json, os, resource, signal, sys, tempfile, threading, traceback
from satclip_index.builder.build import build_atlas
from satclip_index.encoder import Encoder
from satclip_index.errors import OutputError, SatclipIndexError
signal.signal(signal.SIGINT, signal.default_int_handler)
encoder = Encoder.load(sys.argv[1])
with tempfile.TemporaryDirectory() as folder:
    build_atlas(folder + "/atlas", encoder=encoder, res=0, device="cpu")
for line in sys.stdin:
    job, status = json.loads(line), 1
    limit, kill, at, late_s, count = (job.pop(name, None) for name in ("limit", "kill", "at", "late_s", "count"))
    die_above, given = job.pop("die_above", float("inf")), job.pop("encoder", None)
    def progress(done, total):
        if done > die_above:
            os.kill(os.getpid(), signal.SIGKILL)
    child = os.fork()
    if not child:
        try:
            if limit:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            seen, late = [], threading.Timer(late_s or 0, os.kill, (os.getpid(), kill))
            def hook(event, arguments):
                if event in ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir"):
                    seen.append(event)
                    if len(seen) == at:
                        late.start() if late_s else os.kill(os.getpid(), kill)
            sys.addaudithook(hook)
            build_atlas(encoder=given or encoder, device="cpu", progress=progress, **job)
            if count:
                number = len(seen)
                with open(count, "w") as file:
                    file.write(str(number))
            status = 0
        except (SatclipIndexError, KeyboardInterrupt) as error:
            status = 28 if isinstance(error, OutputError) and "--resume" in str(error) else 2
            print(json.dumps([type(error).__name__, str(error)]), flush=True)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def threads(count):
    """Return the environment of a process whose linear algebra has so many threads."""
    return dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(count))


class Builders:
    """A process of one thread that forks one build after another."""

    def __init__(self, process):
        self._process = process

    def run(self, path, **job):
        """Return the exit code of a build; ``error`` is then the kind and the text of an error of ours, or None.

        The build gets the signal ``kill`` at the ``at``-th use of a file, or ``late_s`` seconds after that; it kills
        itself once more than ``die_above`` cells are done. No file may grow beyond ``limit`` bytes. The file ``count``
        gets the number of uses.
        """
        self._process.stdin.write(json.dumps({"path": str(path)} | job) + "\n")
        self._process.stdin.flush()
        self.error, answer = None, json.loads(self._process.stdout.readline())
        if isinstance(answer, list):
            self.error, answer = tuple(answer), json.loads(self._process.stdout.readline())
        return answer


@contextlib.contextmanager
def started_builders(encoder_file):
    """Start a process that builds with an encoder unless another is given."""
    command = [sys.executable, "-c", BUILDERS, encoder_file]
    with started(command, stdin=PIPE, stdout=PIPE, text=True, env=child_environment(threads(1))) as process:
        yield Builders(process)
