"""`python -m archscout` is `archscout`."""

from archscout.cli.main import main

if __name__ == "__main__":
    main()
