# SPDX-License-Identifier: Apache-2.0
"""FlexLink: collective communication with NCCL's C API, also on host memory."""

__version__ = "0.1.0"
