"""`python -m foldbook.adapters.cli` is the same as `foldbook`."""

import sys

from . import main

sys.exit(main())
