"""The command line as a file, which Lightning can start again in other processes."""

from satclip_cli.main import main

if __name__ == "__main__":
    main()
