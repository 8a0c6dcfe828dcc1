"""A real object store on loopback: moto's server, in a process of its own."""

import contextlib
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
import s3fs

from .conftest import child_environment


class ObjectStore:
    """One with an empty bucket, ``bucket``; ``env`` is how s3fs finds it."""

    def __init__(self, folder):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.env = {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_MAX_ATTEMPTS": "1",
        }
        self._log = folder / "moto.log"
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        with self._log.open("w") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=child_environment())
        end = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{self.url}/moto-api/").close()
                break
            assert time.monotonic() < end, self._log.read_text()
            time.sleep(0.05)
        urllib.request.urlopen(urllib.request.Request(f"{self.url}/bucket", method="PUT")).close()
        s3fs.S3FileSystem.clear_instance_cache()  # it would go on asking another module's store

    def requests(self):
        """Return the lines of its log: one for each request so far."""
        return [line.split('"')[1] for line in self._log.read_text().splitlines() if '"' in line]

    def end(self):
        self._process.terminate()
        self._process.wait(timeout=30)


@contextlib.contextmanager
def environment(values):
    """Set environment variables for a while."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in values.items():
            patch.setenv(name, value)
        yield
