"""Several augmentations of waveforms, one after the other."""


class Chain:
    """Augmenters in a row, each with a probability of its own.

    Arguments
    ---------
    augmenters : list of speechbrain.augment.augmenter.Augmenter
        None among them are left out.

    Example
    -------
    >>> import torch
    >>> from speechbrain.augment.augmenter import Augmenter
    >>> from speechbrain.augment.time_domain import DropChunk
    >>> chain = Chain([Augmenter(augmentations=[DropChunk()]), None])
    >>> wavs, lengths = chain(torch.ones(2, 8000), torch.tensor([1.0, 0.5]))
    >>> wavs.shape, lengths.tolist()
    (torch.Size([2, 8000]), [1.0, 0.5])
    """

    def __init__(self, augmenters):
        self.augmenters = [x for x in augmenters if x is not None]

    def __call__(self, wavs, lengths):
        """``[batch, samples]`` and relative lengths, augmented."""
        for augmenter in self.augmenters:
            wavs, lengths = augmenter(wavs, lengths)
        return wavs, lengths

    def replicate_labels(self, labels):
        """A label for each utterance that came out of the last call."""
        for augmenter in self.augmenters:
            labels = augmenter.replicate_labels(labels)
        return labels
