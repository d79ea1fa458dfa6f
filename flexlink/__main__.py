# SPDX-License-Identifier: Apache-2.0
"""`python -m flexlink` is the console script `flexlink`; nothing else lives here."""

import sys

from flexlink.cli import main

if __name__ == "__main__":
    sys.exit(main())
