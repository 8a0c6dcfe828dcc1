"""Uploading a table: its file in parts, then its rows; one table at a time."""

import base64
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

from ._user_table import Table, Upload


class TableLoader:
    """The uploaded table of one page.

    Parameters
    ----------
    slow : Executor
        Has one thread, on which tables are read, queried and removed one after the other.

    Attributes
    ----------
    table : Table or None
        The current table.
    """

    def __init__(self, slow: Executor) -> None:
        self.table: Table | None = None
        self._slow, self._closed = slow, False
        self._upload: Upload | None = None

    def receive(self, message: dict[str, Any]) -> Callable[[], Table | None] | None:
        """Store a part of a file; with the last part, return a function that reads the table, or None if it was closed.

        Raises
        ------
        TableError
            If the file has an unsupported name, or is too large.
        """
        part = base64.b64decode(message["data"], validate=True)
        if message["i"] == 0:
            self._drop_upload()
            self._upload = Upload(str(message["name"]))
        upload = self._upload
        if upload is None:
            return None  # the file was too large, which was reported
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
        """Replace the current table."""
        self.drop()
        self.table = table

    def drop(self) -> None:
        """Remove the table after earlier queries of it are done."""
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
