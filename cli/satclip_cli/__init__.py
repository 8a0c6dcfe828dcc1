"""The ``satclip-index`` command: parse, one library call, render."""
