"""`python -m restauth` is the command `restauth`."""

import sys

from restauth.cli import main

sys.exit(main())
