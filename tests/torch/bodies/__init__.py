# SPDX-License-Identifier: Apache-2.0
"""What the ranks of the torch tests run. The test process never imports these: they need torch."""
