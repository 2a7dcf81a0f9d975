"""Packed linear layers give what torch's own give, and leave alone what is not theirs."""

import pytest
import torch
from torch import nn

from deployments.cpu_linear import _has_bfloat16, pack_linear


class Net(nn.Module):
    def __init__(self, bias: bool = True, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.first = nn.Linear(300, 700, bias=bias, dtype=dtype)
        self.second = nn.Linear(700, 40, bias=bias, dtype=dtype)

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        return self.second(torch.nn.functional.gelu(self.first(given)))


@pytest.mark.parametrize("shape", [(300,), (0, 300), (1, 300), (7, 300), (3, 5, 300), (2, 3, 4, 300)])
@pytest.mark.parametrize("bias", [True, False])
def test_packed_layers_answer_as_plain_ones(shape: tuple[int, ...], bias: bool) -> None:
    torch.manual_seed(0)
    net, given = Net(bias), torch.randn(shape)
    with torch.no_grad():
        plain = net(given)
        assert pack_linear(net) == 2
        packed = net(given)
    assert packed.shape == plain.shape
    torch.testing.assert_close(packed, plain, rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(not _has_bfloat16(), reason="this processor does not multiply bfloat16")
@pytest.mark.parametrize("shape", [(0, 300), (1, 300), (7, 300), (3, 50, 300)])
@pytest.mark.parametrize("bias", [True, False])
def test_in_bfloat16_the_answers_are_the_very_same(shape: tuple[int, ...], bias: bool) -> None:
    torch.manual_seed(0)
    net, given = Net(bias, torch.bfloat16), torch.randn(shape, dtype=torch.bfloat16)
    with torch.no_grad():
        plain = net(given)
        assert pack_linear(net) == 2
        assert torch.equal(net(given), plain)


def test_rows_that_are_not_contiguous() -> None:
    net, given = Net(), torch.randn(300, 9).t()
    with torch.no_grad():
        plain = net(given)
        pack_linear(net)
        torch.testing.assert_close(net(given), plain, rtol=1e-5, atol=1e-5)


def test_it_is_the_packed_weights_that_answer() -> None:
    """Otherwise the tests above would prove nothing."""
    net, given = Net(), torch.randn(64, 300)
    pack_linear(net)
    with torch.no_grad():
        before = net(given)
        net.second.weight.zero_()
        torch.testing.assert_close(net(given), before)


def test_other_precisions_subclasses_and_hooked_layers_stay() -> None:
    class Own(nn.Linear):
        pass

    hooked = nn.Linear(8, 8)
    hooked._hf_hook = object()  # type: ignore[assignment]
    assert pack_linear(nn.ModuleList([Own(8, 8), nn.Linear(8, 8, dtype=torch.float16), hooked])) == 0
    assert pack_linear(nn.Linear(8, 8, device="meta")) == 0
    assert pack_linear(None) == 0


def test_packing_twice_is_packing_once() -> None:
    net = Net()
    assert (pack_linear(net), pack_linear(net)) == (2, 0)


def test_gradients_still_flow() -> None:
    net, given = Net(), torch.randn(64, 300, requires_grad=True)
    pack_linear(net)
    net(given).sum().backward()
    assert given.grad is not None
