/* SPDX-License-Identifier: Apache-2.0
 *
 * Stands in for CUDA's header of this name: empty, because the C ABI uses none of its types.
 */
