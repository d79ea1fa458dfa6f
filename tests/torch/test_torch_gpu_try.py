import pytest
from torch_ranks import Ranks, Fresh, expect_all_passed
CASES = ["reductions:all_reduce float32 SUM","reductions:all_reduce bfloat16 PRODUCT","reductions:all_reduce int64 BXOR","reductions:all_reduce complex64 SUM","reductions:all_reduce bool SUM","reductions:all_reduce float16 AVG",
"reductions:reduce float32 SUM","reductions:reduce_scatter float32 SUM list","reductions:reduce_scatter bfloat16 SUM tensor","reductions:reduce_scatter_uneven float32 SUM","reductions:coalesced float32 SUM","reductions:reduce_scatter_coalesced float32 SUM","reductions:infinities float32","reductions:narrow_floats bfloat16","reductions:bools_stay_bools","reductions:not_dense","reductions:large",
"p2p:blocking float32","p2p:same_tag_keeps_order","p2p:in_a_group","p2p:batch_in_unlike_orders","p2p:many_outstanding","p2p:beside_a_collective",
*[f"work:{b}" for b in ("life","wait_with_limit","futures","future_result","questions","collectives_in_callbacks","tensors_stay_alive","dropped_work","waited_by_another_thread","reverse_order")],
*[f"groups:{b}" for b in ("subsets","made_by_members_only","overlapping","subgroups","sequence_numbers")],
"training:ddp_unused","training:ddp_hook fp16_compress_hook","training:powersgd","spmd:dtensor","spmd:dtensor_grid","spmd:eager","spmd:gradients"]
@pytest.mark.parametrize("case", CASES)
def test_it(gpu_ranks: Ranks, case: str) -> None:
    body,*args=case.split()
    gpu_ranks(body,*args,limit=25)
def test_premul(gpu_ranks): gpu_ranks("reductions:premul_sum","float32",True); gpu_ranks("reductions:premul_sum","float16",False)
@pytest.mark.parametrize("first",[False,True])
def test_batch(gpu_ranks, first): gpu_ranks("p2p:batch",first,1001); 
def test_threads(gpu_ranks): gpu_ranks("work:threads",4,50)
@pytest.mark.parametrize("acc",[False,True])
def test_ddp(gpu_ranks,acc): gpu_ranks("training:ddp",{},acc)
def test_zero(gpu_ranks): gpu_ranks("training:zero",False)
def test_fsdp(gpu_ranks): gpu_ranks("training:fsdp2",True)
