"""`python -m utils.export`."""

from config.command_line import run
from utils.export.files import main

if __name__ == "__main__":
    run(main, "Files already listed are whole; run it again for the rest.")
