"""The command, started as `python -m netdoctor.cli`."""

from netdoctor.cli import main

if __name__ == "__main__":
    main()
