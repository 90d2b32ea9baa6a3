"""``python -m pphub`` is the command ``hub``."""

from pphub.cli import run

if __name__ == "__main__":
    run()
