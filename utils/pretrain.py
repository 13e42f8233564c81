"""`python -m utils.pretrain`."""

from config.command_line import run
from utils.training.pretrain import main

if __name__ == "__main__":
    run(main, "Nothing was written: the same command starts anew.")
