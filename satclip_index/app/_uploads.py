"""The table that a person loads: its file as it arrives, then its rows; one at a time."""

import base64
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

from ._user_table import Table, Upload


class Loading:
    """What one page has loaded.

    Parameters
    ----------
    slow : Executor
        Of one thread: where tables are read, asked and removed, one after the other.

    Attributes
    ----------
    table : Table or None
        The one to search among.
    """

    def __init__(self, slow: Executor) -> None:
        self.table: Table | None = None
        self._slow, self._closed = slow, False
        self._upload: Upload | None = None

    def receive(self, message: dict[str, Any]) -> Callable[[], Table | None] | None:
        """Take a part of a file; with the last, return what reads it: a table, or none if nobody waits any more.

        Raises
        ------
        TableError
            If it is no table by its name, or too large.
        """
        part = base64.b64decode(message["data"], validate=True)
        if message["i"] == 0:
            self._drop_upload()
            self._upload = Upload(str(message["name"]))
        upload = self._upload
        if upload is None:
            return None  # it was too large, and that was said
        try:
            upload.write(part)
        except BaseException:
            self._drop_upload()
            raise
        if message["i"] + 1 < message["of"]:
            return None
        self._upload = None
        return lambda: self._read(upload)

    def keep(self, table: Table) -> None:
        """Search among a table from now on."""
        self.drop()
        self.table = table

    def drop(self) -> None:
        """Remove the table, once nothing that began earlier needs it."""
        if self.table is not None:
            self._slow.submit(self.table.close)
        self.table = None

    def close(self) -> None:
        """Remove everything."""
        self._closed = True
        self._drop_upload()
        self.drop()

    def _read(self, upload: Upload) -> Table | None:
        table = Table(upload)
        if not self._closed:
            return table
        table.close()
        return None

    def _drop_upload(self) -> None:
        if self._upload is not None:
            self._upload.close()
        self._upload = None
