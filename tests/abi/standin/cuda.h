/* SPDX-License-Identifier: Apache-2.0
 *
 * Stands in for the CUDA driver's header: the one type that NCCL's device structs name.
 */
#ifndef STANDIN_CUDA_H_
#define STANDIN_CUDA_H_

typedef int CUmemLocationType;

#endif /* STANDIN_CUDA_H_ */
