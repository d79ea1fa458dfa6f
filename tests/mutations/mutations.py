# SPDX-License-Identifier: Apache-2.0
"""One-line faults, and the test that each must turn red; scripts/mutate runs them.

Each promise of the design has at least one. A fault that no test notices, or a line that is no
longer there, fails scripts/mutate.
"""

import cuda
import many_paths
import one_host
from mutation import Mutation

MUTATIONS: tuple[Mutation, ...] = one_host.MUTATIONS + many_paths.MUTATIONS + cuda.MUTATIONS
