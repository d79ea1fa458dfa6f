# SPDX-License-Identifier: Apache-2.0
"""`flexlink doctor`: what this machine offers FlexLink, what is wrong, and what mends it.

Facts are read by nic_reader, reader and trials; everything that judges them is a pure function
from facts to findings. It changes nothing on the machine and needs no optional package.
"""
