import pytest
import torch
from speechbrain.lobes.models.transformer.Conformer import ConvolutionModule
from speechbrain.nnet.attention import RelPosEncXL, RelPosMHAXL

from speechbrain_privacy.lobes.conformer import (
    ChannelDropout,
    ConformerLobe,
    PaddingSafeConvolution,
)
from speechbrain_privacy.nnet.attention import RelativeAttention
from speechbrain_privacy.nnet.operations import counted_flops


def both(dim=12, heads=3, p=0.0):
    """SpeechBrain's with our dropout, and ours with its weights."""
    theirs = RelPosMHAXL(dim, heads)
    theirs.dropout_att = ChannelDropout(p)
    ours = RelativeAttention(dim, heads, ChannelDropout(p))
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


@pytest.mark.parametrize("time", [1, 2, 7, 30])
@pytest.mark.parametrize("p", [0.0, 0.4])
def test_attends_as_speechbrains_does_and_learns_the_same(time, p):
    theirs, ours = both(p=p)
    x = torch.randn(4, time, 12)
    padding = torch.arange(time) >= torch.tensor([time, time, 5, 1])[:, None]
    found, flops = [], []
    for attention in (theirs, ours):
        torch.manual_seed(0)  # of dropout
        given = x.clone().requires_grad_()
        places = RelPosEncXL(12)(given)
        with counted_flops(flops):
            out, _ = attention(given, given, given, places, padding)
            out.square().sum().backward()
        found.append(
            [out, given.grad, *(w.grad for w in attention.parameters())]
        )
    assert len(found[1]) == 8 and flops[0] == flops[1] > 0
    for expected, got in zip(*found, strict=True):
        assert torch.allclose(expected, got, atol=1e-5, rtol=1e-4)


def test_padding_is_not_attended_to_however_loud():
    _, ours = both()
    x = torch.randn(2, 9, 12)
    padding = torch.arange(9) >= torch.tensor([9, 4])[:, None]
    places = RelPosEncXL(12)(x)
    quiet, _ = ours(x, x, x, places, padding)
    x = x.masked_fill(padding.unsqueeze(2), 1e4)
    loud, _ = ours(x, x, x, places, padding)
    assert torch.equal(quiet[~padding], loud[~padding])


def test_attends_to_everything_without_a_mask_and_in_half_precision():
    theirs, ours = both()
    x = torch.randn(2, 9, 12)
    places = RelPosEncXL(12)(x)
    expected, _ = theirs(x, x, x, places)
    alone = ours(x, x, x, places, return_attn_weights=False)
    assert torch.allclose(alone, expected, atol=1e-6)
    padding = torch.arange(9) >= torch.tensor([9, 4])[:, None]
    expected, _ = theirs(x, x, x, places, padding)
    expected.square().sum().backward()
    with torch.autocast("cpu", torch.bfloat16):
        halved, weights = ours(x, x, x, places, padding)
    assert weights is None and halved.dtype == torch.bfloat16
    assert torch.allclose(halved.float(), expected, atol=0.05)
    halved.float().square().sum().backward()
    for one, other in zip(theirs.parameters(), ours.parameters(), strict=True):
        off = (one.grad - other.grad).norm() / one.grad.norm()
        assert off < 0.05


def test_nothing_but_padding_is_a_number():
    _, ours = both()
    x = torch.randn(1, 5, 12, requires_grad=True)
    padding = torch.ones(1, 5, dtype=torch.bool)
    out, _ = ours(x, x, x, RelPosEncXL(12)(x), padding)
    out.sum().backward()
    assert out.isfinite().all() and x.grad.isfinite().all()


def test_what_it_cannot_do_is_refused():
    _, ours = both()
    x = torch.randn(1, 5, 12)
    places = RelPosEncXL(12)(x)
    with pytest.raises(ValueError, match="self-attention"):
        ours(x, x.clone(), x, places)
    with pytest.raises(ValueError, match="self-attention"):
        ours(x, x, x, places, attn_mask=torch.zeros(5, 5))


def test_convolutions_with_channels_last_are_the_same():
    """Without padding: SpeechBrain's lets it in."""
    for causal in (False, True):
        theirs = ConvolutionModule(8, kernel_size=5, causal=causal)
        ours = PaddingSafeConvolution(8, kernel_size=5, causal=causal)
        ours.load_state_dict(theirs.state_dict())
        x, padding = torch.randn(2, 9, 8), torch.zeros(2, 9, 1).bool()
        found, flops = [], []
        for module in (theirs, ours):
            given = x.clone().requires_grad_()
            with counted_flops(flops):
                out = module(given, padding)
                out.square().sum().backward()
            found.append(
                [out, given.grad, *(w.grad for w in module.parameters())]
            )
        for expected, got in zip(*found, strict=True):
            assert torch.allclose(expected, got, atol=1e-5)
        assert flops[0] == flops[1] > 0


def test_the_encoder_has_the_quick_ones():
    lobe = ConformerLobe(20, d_model=16, num_layers=2, d_ffn=32, nhead=2)
    for layer in lobe.layers.layers:
        assert type(layer.mha_layer) is RelativeAttention
        assert type(layer.convolution_module) is PaddingSafeConvolution
        assert layer.mha_layer.num_heads == 2
        assert layer.mha_layer.dropout_att.p == 0.1
