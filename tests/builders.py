"""Builds in processes of their own."""

import json
import subprocess
import sys

from .conftest import child_environment

# Imports and compiled code take seconds, a build less: one process has them, and each build is a fork of it.
BUILDERS = """
import json, os, resource, signal, sys, tempfile, time, traceback
from satclip_index.build import build_atlas
from satclip_index.encoder import Encoder
from satclip_index.errors import OutputError, SatclipIndexError
encoder = Encoder.load(sys.argv[1])
with tempfile.TemporaryDirectory() as folder:
    build_atlas(folder + "/atlas", encoder=encoder, res=0, device="cpu")
for line in sys.stdin:
    job, status = json.loads(line), 1
    limit, kill, after_s = job.pop("limit", None), job.pop("kill", None), job.pop("after_s", 0)
    die_above, given = job.pop("die_above", float("inf")), job.pop("encoder", None)
    def progress(done, total):
        if done > die_above:
            os.kill(os.getpid(), signal.SIGKILL)
    child = os.fork()
    if not child:
        try:
            if limit:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            build_atlas(encoder=given or encoder, device="cpu", progress=progress, **job)
            status = 0
        except (SatclipIndexError, KeyboardInterrupt) as error:
            status = 28 if isinstance(error, OutputError) and "--resume" in str(error) else 2
            print(json.dumps([type(error).__name__, str(error)]), flush=True)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    if kill:
        time.sleep(after_s)
        os.kill(child, kill)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def threads(count):
    """Return the environment of a process whose linear algebra has so many threads."""
    return dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(count))


class Builders:
    """A process of one thread that forks one build after another."""

    def __init__(self, encoder_file):
        self._process = subprocess.Popen(
            [sys.executable, "-c", BUILDERS, str(encoder_file)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=child_environment(threads(1)),
        )  # fmt: skip

    def run(self, path, **job):
        """Return the exit code of a build; ``error`` is then the kind and the text of an error of ours, or None.

        By ``kill`` it gets that signal after ``after_s`` seconds; it kills itself once more than ``die_above`` cells
        are done. No file may grow beyond ``limit`` bytes.
        """
        self._process.stdin.write(json.dumps({"path": str(path)} | job) + "\n")
        self._process.stdin.flush()
        self.error, answer = None, json.loads(self._process.stdout.readline())
        if isinstance(answer, list):
            self.error, answer = tuple(answer), json.loads(self._process.stdout.readline())
        return answer

    def end(self):
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(timeout=60)
