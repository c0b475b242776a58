"""`python -m cronsvc` is `cronsvc`."""

from cronsvc.cli import main

if __name__ == "__main__":
    main()
