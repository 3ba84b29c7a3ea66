"""Attention with relative places, in fewer passes over memory."""

import torch
from speechbrain.nnet.attention import RelPosMHAXL


class RelativeAttention(RelPosMHAXL):
    """SpeechBrain's relative self-attention, the same numbers sooner.

    The parent copies the places for every utterance, shifts them by padding,
    masks and drops attention weights in passes of their own. Here queries of
    all utterances meet the places at once, the shift is a view, and what
    dropout hides from all queries is dropped from the values. Same
    parameters, same names. (Where all is padding, the mean of the values and
    not zeros: a number either way.)

    Source: Dai et al., "Transformer-XL: Attentive Language Models beyond a
    Fixed-Length Context", ACL 2019, section 3.3.

    Arguments
    ---------
    embed_dim, num_heads : int
    dropout : torch.nn.Module
        Given values as ``[batch, head, channel, key]``; it must draw by
        utterance and key alone, as ``lobes.conformer.ChannelDropout`` does.

    Example
    -------
    >>> from speechbrain.nnet.attention import RelPosEncXL
    >>> x = torch.rand(2, 9, 8)
    >>> attention = RelativeAttention(8, 2, torch.nn.Identity())
    >>> attention(x, x, x, RelPosEncXL(8)(x))[0].shape
    torch.Size([2, 9, 8])
    """

    def __init__(self, embed_dim, num_heads, dropout):
        super().__init__(embed_dim, num_heads)
        self.dropout_att = dropout

    def forward(
        self,
        query,
        key,
        value,
        pos_embs,
        key_padding_mask=None,
        attn_mask=None,
        return_attn_weights=True,
    ):
        """``query [batch, time, embed_dim]``, which is key and value, too.

        Arguments
        ---------
        query, key, value : torch.Tensor
            One and the same, ``[batch, time, embed_dim]``.
        pos_embs : torch.Tensor
            Of ``RelPosEncXL``, ``[1, 2 * time - 1, embed_dim]``.
        key_padding_mask : torch.Tensor, optional
            True on padding, ``[batch, time]``.
        attn_mask : None
        return_attn_weights : bool
            Whether None is given beside the output: weights never are.

        Returns
        -------
        torch.Tensor
            ``[batch, time, embed_dim]``, and None if weights are asked for.

        Raises
        ------
        ValueError
            If they are several, or there is an ``attn_mask``.
        """
        if attn_mask is not None or query is not key or key is not value:
            raise ValueError(
                "this is self-attention to all frames: query, key and value "
                "are one tensor, and attn_mask is None"
            )
        batch, time, dim = query.shape
        heads, size = self.num_heads, self.head_dim
        q, k, v = (
            torch.nn.functional.linear(query, self.in_proj_weight)
            .view(batch, time, heads, 3, size)
            .permute(3, 2, 0, 1, 4)  # heads first: places are of a head
        )
        p = self.linear_pos(pos_embs)[0].view(-1, heads, size).permute(1, 2, 0)
        # The parent reads these biases as [heads, size], whatever their shape.
        u = self.pos_bias_u.view(heads, 1, 1, size)
        w = self.pos_bias_v.view(heads, 1, 1, size)

        # Query i and key j meet in column time - 1 - i + j.
        far = torch.bmm(
            ((q + w) * self.scale).reshape(heads, batch * time, size), p
        )
        far = far.as_strided(
            (heads * batch, time, time),
            (time * (2 * time - 1), 2 * time - 2, 1),
            time - 1,
        )
        scores = torch.baddbmm(
            far,
            ((q + u) * self.scale).reshape(heads * batch, time, size),
            k.reshape(heads * batch, time, size).transpose(1, 2),
        )
        if key_padding_mask is not None:
            # Without a gradient of its own: that of a weight of 0 is 0.
            scores.detach().view(heads, batch, time, time).masked_fill_(
                key_padding_mask[:, None], torch.finfo(scores.dtype).min
            )
        weights = scores.softmax(2, dtype=torch.float32)

        v = self.dropout_att(v.permute(1, 0, 3, 2)).permute(1, 0, 3, 2)
        out = torch.bmm(
            weights.to(v.dtype), v.reshape(heads * batch, time, size)
        )
        out = out.view(heads, batch, time, size).permute(1, 2, 0, 3)
        out = self.out_proj(out.reshape(batch, time, dim))
        return (out, None) if return_attn_weights else out
