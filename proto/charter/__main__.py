"""The command line: `charter`, or `python -m charter`."""

from services.cli.main import main

if __name__ == "__main__":
    main()
