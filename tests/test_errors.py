import errno
import os
import sys

import pytest

from satclip_index.errors import MissingExtraError, check_extra, one_line, require_extra


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("one\n  two\tthree. "), "one two three"),
        (KeyError("format_version"), "KeyError: 'format_version'"),
        (AssertionError(), "AssertionError"),
        (OSError("truncated"), "truncated"),
        (PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/some/file"), "Permission denied"),
        (ValueError("x" * 160), "x" * 160),
        (ValueError("x" * 161), "x" * 157 + "..."),
    ],
)
def test_the_reason_of_an_error_is_one_line_that_names_it(error, text):
    assert one_line(error) == text


def test_the_type_of_an_error_precedes_its_reason_once():
    assert one_line(FileNotFoundError("bucket/name"), with_type=True) == "FileNotFoundError: bucket/name"
    assert one_line(KeyError("a"), with_type=True) == "KeyError: 'a'"


def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "bokeh", None)
    message = r"^This needs bokeh, which is not installed\. Run: pip install 'satclip-index\[map\]'$"
    with pytest.raises(MissingExtraError, match=message), require_extra("bokeh", "map"):
        import bokeh.plotting  # noqa: F401
    with pytest.raises(MissingExtraError, match=message):
        check_extra("bokeh", "map")


def test_a_missing_dependency_of_a_package_is_the_one_named():
    with pytest.raises(MissingExtraError, match="This needs tornado, which"), require_extra("bokeh", "map"):
        raise ModuleNotFoundError("No module named 'tornado.web'", name="tornado.web")
    with pytest.raises(MissingExtraError, match="This needs tensorboard, which"), require_extra("tensorboard", "train"):
        raise ModuleNotFoundError("Neither `tensorboard` nor `tensorboardX` is available.")


def test_an_import_that_fails_for_another_reason_is_not_reported_as_missing():
    with pytest.raises(ImportError, match=r"libGL\.so") as caught, require_extra("rasterio", "train"):
        raise ImportError("libGL.so: cannot open shared object file", name="rasterio._base")
    assert not isinstance(caught.value, MissingExtraError)
    with pytest.raises(ModuleNotFoundError, match="satclip_index") as caught, require_extra("bokeh", "map"):
        import satclip_index.no_such_module  # noqa: F401
    assert not isinstance(caught.value, MissingExtraError)


def test_a_package_that_is_installed_passes():
    check_extra("numpy", "cpu")
    with require_extra("numpy", "cpu"):
        import numpy  # noqa: F401
