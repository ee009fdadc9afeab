"""`python -m restauth` is the command `restauth`."""

import sys

from restauth.cli.main import main

sys.exit(main())
