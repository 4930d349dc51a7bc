"""`python -m nearfield.cli`, which is the command `nearfield`."""

import sys

from nearfield.cli.main import main

sys.exit(main())
