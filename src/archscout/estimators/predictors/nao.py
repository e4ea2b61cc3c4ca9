"""The predictor of NAO: a sequence is encoded, its value regressed from the code, and decoded again."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from archscout.core.registry import register
from archscout.estimators.predictors.learned import Learned
from archscout.estimators.predictors.network import Inputs, Network
from archscout.estimators.predictors.training import Schedule


@register("estimator", "nao")
def nao(encoding: str = "default", scores: str = "", seed: int = 0) -> Learned:
    """An encoder, a regressor and a decoder of sequences (NAO, Luo et al. 2018, arXiv 1808.07233), of the study."""
    return Learned("nao", NAO(seed=seed), encoding, scores)


class NAO(Network):
    """A recurrent encoder (LSTM, 64 both ways), a regressor on the mean of its states, and a decoder with attention.

    The loss is 0.8 times the squared error and 0.2 times that of telling each token from those before it. Encoder,
    regressor and settings are those of the code of the study of White et al. (2021, arXiv 2104.01177): 50 epochs in
    batches of 100, Adam at a rate that stays 1e-3, with weight decay 1e-4, gradients of norm 5 at most, dropout 0.1;
    the decoder is simpler. A hundred samples and ten get as many steps, fifty. Columns after those of the sequence
    (scores) go to the regressor. Parameters: see `Network`.
    """

    usual: ClassVar[str] = "sequence"
    schedule: ClassVar[Schedule] = Schedule(epochs=50, batch=100, rate=1e-3, decay=1e-4, cosine=False, clip=5.0)

    def _prepare(self, matrix: np.ndarray) -> None:
        self.tokens_ = int(max(matrix[:, : self.blocks_[0]].max(), self.pool_[:, : self.blocks_[0]].max(initial=0))) + 1

    def _inputs(self, matrix: np.ndarray) -> Inputs:
        tokens, side = matrix[:, : self.blocks_[0]], matrix[:, self.blocks_[0] :]
        # A token that has never been seen says as little as an empty place.
        known = np.where((tokens >= 0) & (tokens < self.tokens_), tokens, 0).astype(np.int64)
        return torch.from_numpy(known), torch.from_numpy(side.astype(np.float32))

    def _build(self, inputs: Inputs) -> nn.Module:
        return EncoderDecoder(self.tokens_, inputs[1].shape[1])

    def _loss(self, network: nn.Module, inputs: Inputs, target: Tensor) -> Tensor:
        assert isinstance(network, EncoderDecoder)
        tokens, side = inputs
        states, value = network.encode(tokens, side)
        guesses = network.decode(tokens, states)
        decoding = nn.functional.cross_entropy(guesses.flatten(0, 1), tokens.flatten())
        return 0.8 * nn.functional.mse_loss(value, target) + 0.2 * decoding


class EncoderDecoder(nn.Module):
    """Tokens (N, L) and further columns (N, S) become one number a sequence."""

    def __init__(self, tokens: int, side: int, hidden: int = 64, dropout: float = 0.1) -> None:
        super().__init__()
        self.embedding = nn.Embedding(tokens + 1, hidden)  # the last one begins a sequence
        self.encoder = nn.LSTM(hidden, hidden, batch_first=True, bidirectional=True)
        self.both = nn.Linear(2 * hidden, hidden)
        self.decoder = nn.LSTM(hidden, hidden, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        narrow = nn.Sequential(nn.Linear(hidden, 16), nn.ReLU(), nn.Dropout(dropout))
        self.bent = nn.Sequential(narrow, nn.Linear(16, hidden), nn.ReLU(), nn.Dropout(dropout))
        self.regressor = nn.Linear(hidden + side, 1)
        self.out = nn.Linear(2 * hidden, tokens)

    def encode(self, tokens: Tensor, side: Tensor) -> tuple[Tensor, Tensor]:
        """The states (N, L, hidden), of length 1 each, and the value of each sequence."""
        plain = self.dropout(self.embedding(tokens))
        states = nn.functional.normalize(plain + self.both(self.encoder(plain)[0]), dim=2)
        code = nn.functional.normalize(states.mean(dim=1), dim=1)
        code = (code + self.bent(code)) * 0.5**0.5
        return states, self.regressor(torch.cat([code, side], dim=1))[:, 0]

    def decode(self, tokens: Tensor, states: Tensor) -> Tensor:
        """Of each place, how likely each token is after those before it: (N, L, tokens), before the softmax."""
        begin = torch.full_like(tokens[:, :1], self.embedding.num_embeddings - 1)
        before = torch.cat([begin, tokens[:, :-1]], dim=1)
        first = states.mean(dim=1)[None]
        said, _ = self.decoder(self.dropout(self.embedding(before)), (first, torch.zeros_like(first)))
        attention = torch.softmax(torch.bmm(said, states.transpose(1, 2)), dim=2)
        guesses: Tensor = self.out(torch.cat([torch.bmm(attention, states), said], dim=2))
        return guesses

    def forward(self, tokens: Tensor, side: Tensor) -> Tensor:
        return self.encode(tokens, side)[1]
