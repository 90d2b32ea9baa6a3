"""``python -m pphub`` is the command ``hub``."""

import sys

from pphub.cli import main

if __name__ == "__main__":
    sys.exit(main())
