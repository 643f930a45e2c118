"""A model whose weights are divided among the processes by FSDP2: a part of every weight in each.

    sharded ──gather──> whole: for sampling, with no exchange a token
            <──split──
    update:  a layer's weights are gathered before its pass, forward and backward, and its gradients are summed to parts

Weights that are trained are kept in float32, and gathered in the model's own type. FSDP2 gathers and frees by hooks of
modules; passes of our own (`mentor_kit_torch.fused_llama`) are registered as methods with the same hooks.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, Shard

from mentor_kit_torch.agreement import AgreedAllGather, AgreedReduceScatter, PassAgreement, PassRefusedError
from mentor_kit_torch.communicator import TorchCommunicator
from mentor_kit_torch.exchange import PassBytes, decoder_layers
from mentor_kit_torch.fused_llama import SHARDED_PASS, through
from mentor_kit_torch.lm_wrapper import TorchLMWrapper


class ModelShards:
    """Shards a model, and gathers and splits it.

    Args:
        model: whole, on the CPU.
        communicator: the processes.
        device: of this process.
        dtype: that the model computes in.
    """

    def __init__(self, model: Any, communicator: TorchCommunicator, device: torch.device, dtype: torch.dtype) -> None:
        self.model, self.communicator, self.dtype = model, communicator, dtype
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.widened = dtype != torch.float32 and any(parameter.dtype == dtype for parameter in trained)
        """Whether trained weights are gathered in fewer bits than they are kept in."""
        mesh = init_device_mesh(device.type, (communicator.size,))
        policy = MixedPrecisionPolicy(
            param_dtype=dtype if self.widened else None, reduce_dtype=torch.float32, cast_forward_inputs=False
        )
        layers = decoder_layers(model)
        self.exchanged = PassBytes.of(model, dtype, adapted=hasattr(model, "get_base_model"))
        for module in (*layers, model):
            for parameter in module.parameters():
                if not isinstance(parameter, DTensor):
                    # FSDP2 refuses the layout that is fastest on a CPU
                    wide = torch.float32 if parameter.requires_grad else parameter.dtype
                    parameter.data = parameter.data.to(wide).contiguous()
            fully_shard(module, mesh=mesh, mp_policy=policy)
        for layer in layers:
            setattr(layer, SHARDED_PASS, MethodType(through, layer))
            register_fsdp_forward_method(layer, SHARDED_PASS)
        model.within = MethodType(_within, model)
        register_fsdp_forward_method(model, "within")
        self._modules: list[Any] = [module for module in model.modules() if isinstance(module, FSDPModule)]
        self._layers: list[Any] = layers
        self.agreement = PassAgreement(communicator)
        communicator.together_errors = (PassRefusedError,)
        self.recovers = hasattr(model, "reset_iter_state")
        """Whether PyTorch can leave a pass in the middle."""
        for module in self._modules:
            # sums, as weights of tokens are already those of the whole update
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)
            if self.recovers:
                module.set_custom_all_gather(AgreedAllGather(self.agreement))
                module.set_custom_reduce_scatter(AgreedReduceScatter(self.agreement))
        self.is_whole = False
        # FSDP2 takes for the root what runs first
        with torch.no_grad():
            model(input_ids=torch.zeros(1, 1, dtype=torch.int64, device=device), use_cache=False)
        self.split()
        self.trained: dict[str, DTensor] = {n: p for n, p in model.named_parameters() if p.requires_grad}
        """The trained parameters, by name: the parts of them that are here, whatever the model holds now."""

    def attach(self, lm: TorchLMWrapper) -> None:
        """Have passes of an update gather the weights outside the layers."""
        lm.within = self.model.within

    def gather(self) -> None:
        """Hold all weights in every process."""
        if not self.is_whole:
            self._forget_order()
            for layer in self._layers:
                layer.set_reshard_after_forward(False, recurse=False)
            for module in self._modules:
                module.unshard()
            self.communicator.traffic.gathered_bytes += self.exchanged.forward
            self.is_whole = True

    def split(self) -> None:
        """Hold a part of the weights in every process, and forget what was gathered: the weights may change."""
        for layer in self._layers:
            layer.set_reshard_after_forward(True, recurse=False)
        for module in self._modules:
            module.reshard()
        self._forget_order()
        self.is_whole = False

    def leave_pass(self) -> None:
        """Forget a pass that all processes have left in the middle, and the gradients that it has summed."""
        self.model.reset_iter_state()
        for parameter in self.trained.values():
            parameter.grad = None
        for module in self._modules:
            for group in _groups(module):
                for held in group.fsdp_params:
                    # of the layer in hand; FSDP2 would add the next pass's to them
                    held.unsharded_accumulated_grad = None
                    if (whole := getattr(held, "_unsharded_param", None)) is not None:
                        whole.grad = None
        self.split()

    def whole_of(self, part: Tensor, parameter: DTensor) -> Tensor:
        """The whole of the processes' parts, on each device; all of them take part."""
        placed = DTensor.from_local(
            part, parameter.device_mesh, [Shard(0)], run_check=False, shape=parameter.shape, stride=parameter.stride()
        )
        found: Tensor = placed.full_tensor()
        self.communicator.traffic.gathered_bytes += found.nbytes
        return found

    def _forget_order(self) -> None:
        """Forget the order of passes without gradients, which differs among processes that sample.

        FSDP2 gathers ahead by it in the backward pass; processes with other orders would wait for each other for ever.
        """
        for module in self._modules:
            for group in _groups(module):
                group.comm_ctx.post_forward_order.clear()
                group._post_forward_indices.clear()


def part_of(whole: Tensor, parameter: DTensor) -> Tensor:
    """This process's part of a whole tensor, by that of a parameter."""
    rank, size = parameter.device_mesh.get_local_rank(), parameter.device_mesh.size()
    parts = torch.chunk(whole, size, dim=0)
    return parts[rank] if rank < len(parts) else whole[:0]


def local(parameter: Tensor) -> Tensor:
    """The part of a parameter, or of its gradient, that is here; it shares memory with it."""
    value = parameter.detach()
    return value.to_local() if isinstance(value, DTensor) else value


def _within(module: nn.Module, function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)


def _groups(module: Any) -> list[Any]:
    """FSDP2's groups of a module's parameters, by any of the names that PyTorch has had for them."""
    state = module._get_fsdp_state()
    many = getattr(state, "_fsdp_param_groups", None)
    return list(many) if many is not None else [group for group in [state._fsdp_param_group] if group is not None]
