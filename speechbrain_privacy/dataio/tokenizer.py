"""Words <-> token ids with SentencePiece; id 0 is the CTC blank."""

import io
from pathlib import Path

import sentencepiece

BLANK = 0


class Tokenizer:
    """A SentencePiece model trained on the manifest's words.

    Id 0 is SentencePiece's unknown symbol and at the same time CTC's blank:
    a character that training has never seen cannot be emitted.

    Arguments
    ---------
    kind : str
        ``char``, ``unigram`` or ``bpe``.
    vocab_size : int
        Number of tokens with the blank. For ``char`` an upper limit.

    Example
    -------
    >>> tokenizer = Tokenizer("char", 30).train(["AB BA", "ABBA"])
    >>> tokenizer.decode(tokenizer.encode("BABA AB"))
    'BABA AB'
    """

    def __init__(self, kind="unigram", vocab_size=100):
        if kind not in ("char", "unigram", "bpe"):
            raise ValueError(
                f"a tokenizer is char, unigram or bpe; got '{kind}'"
            )
        self.kind = kind
        self.vocab_size = vocab_size
        self.model = None

    def train(self, texts):
        """Learns the tokens from transcripts; returns itself."""
        texts = list(texts)
        size = self.vocab_size
        if self.kind == "char":
            # With fewer, SentencePiece would silently drop rare characters.
            size = len(set("".join(texts)) - {" "}) + 2  # blank, word start
            self._check_fits(size)
        model = io.BytesIO()
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(texts),
                model_writer=model,
                model_type=self.kind,
                # Words are compared as they are written.
                normalization_rule_name="identity",
                vocab_size=size,
                unk_id=BLANK,
                bos_id=-1,
                eos_id=-1,
                pad_id=-1,
                character_coverage=1.0,
                minloglevel=2,
            )
        except RuntimeError as fault:
            raise ValueError(
                f"no {self.kind} vocabulary of {self.vocab_size} tokens can "
                f"be learnt from these transcripts; change the key "
                f"vocab_size. SentencePiece says: {fault}"
            ) from None
        return self._use(model.getvalue())

    def load(self, path):
        """Reads a model that ``save`` has written; returns itself."""
        return self._use(Path(path).read_bytes())

    def save(self, path):
        """Writes the model; SentencePiece reads it too."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".partial")
        temporary.write_bytes(self.model.serialized_model_proto())
        temporary.replace(path)

    def _use(self, proto):
        self.model = sentencepiece.SentencePieceProcessor(model_proto=proto)
        self._check_fits(len(self))
        return self

    def _check_fits(self, size):
        if size > self.vocab_size:
            raise ValueError(
                f"there are {size} tokens with the blank: raise the key "
                f"vocab_size, now {self.vocab_size}"
            )

    def __len__(self):
        return self.model.get_piece_size()

    @property
    def pieces(self):
        """The tokens as text, by id; the blank is empty."""
        return ["", *map(self.model.id_to_piece, range(1, len(self)))]

    def encode(self, text):
        """Text -> list of ids."""
        return self.model.encode(text)

    def decode(self, ids):
        """List of ids, blanks removed -> text."""
        return self.model.decode([int(i) for i in ids])
