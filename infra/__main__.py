"""`tagstream`, or `python -m infra`."""

from infra.cli import main

if __name__ == "__main__":
    main()
