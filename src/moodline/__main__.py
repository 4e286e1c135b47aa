"""``python -m moodline``: the command line."""

from moodline.cli.main import main

if __name__ == "__main__":
    main()
