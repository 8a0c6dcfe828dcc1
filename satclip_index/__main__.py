"""``python -m satclip_index`` runs the command."""

from satclip_cli.main import main

main()
