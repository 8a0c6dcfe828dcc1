"""A real object store on loopback: moto's server, in a process of its own."""

import contextlib
import re
import sys
import time
import urllib.request

import pytest
import s3fs

from .conftest import child_environment
from .processes import started


class ObjectStore:
    """One with an empty bucket, ``bucket``; ``env`` is how s3fs finds it."""

    def __init__(self, folder):
        self._log = folder / "moto.log"

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            log = stack.enter_context(self._log.open("w"))
            command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
            process = stack.enter_context(started(command, stdout=log, stderr=log, env=child_environment()))
            while not (found := re.search(r"Running on (http://[\d.:]+)\s", self._log.read_text())):
                assert process.poll() is None, self._log.read_text()
                time.sleep(0.05)
            self.url = found[1]
            urllib.request.urlopen(urllib.request.Request(f"{self.url}/bucket", method="PUT")).close()
            self._running = stack.pop_all()
        s3fs.S3FileSystem.clear_instance_cache()  # it would go on asking another module's store
        self.env = {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_MAX_ATTEMPTS": "1",
        }
        return self

    def __exit__(self, *_):
        self._running.close()

    def requests(self):
        """Return the lines of its log: one for each request so far."""
        return [line.split('"')[1] for line in self._log.read_text().splitlines() if '"' in line]


@contextlib.contextmanager
def environment(values):
    """Set environment variables for a while."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in values.items():
            patch.setenv(name, value)
        yield
