"""`python -m handmade` is the same as `handmade`."""

import sys

from handmade.cli.main import main

sys.exit(main())
