"""The map in a browser: what ``satclip-index serve`` runs."""
