"""The trained network in torch: encoder, pooling, head. Needs the ``[train]`` extra; tagging never imports it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel, PreTrainedTokenizerBase

from duibiao.data.errors import BundleError
from duibiao.text import END_ID, PAD_ID, PAIR_BASE, START_ID, UNKNOWN_ID, TextTable, clean, window_bounds

TABLE_FILE, EMBEDDING_FILE, BODY_FILE = "text_table.json", "embedding.safetensors", "body.safetensors"


class TableEmbedding(nn.Module):
    """Rows of a :class:`TextTable` → vectors: a piece's row, or the mean of the pairs it stands in if there are any."""

    def __init__(self, table: TextTable, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(table.rows, width) * 0.02)
        keys, rows = zip(*sorted(table.pair_ids.items()), strict=True) if table.pairs else ((-1,), (0,))
        self.pair_keys: Tensor
        self.pair_rows: Tensor
        self.register_buffer("pair_keys", torch.tensor(keys), persistent=False)
        self.register_buffer("pair_rows", torch.tensor(rows), persistent=False)

    def pair_row(self, left: Tensor, right: Tensor) -> Tensor:
        """Row of each pair (``int64``, shape of ``left``), 0 where the table has none."""
        key = left * PAIR_BASE + right
        place = torch.searchsorted(self.pair_keys, key.contiguous()).clamp_(max=len(self.pair_keys) - 1)
        return torch.where(self.pair_keys[place] == key, self.pair_rows[place], 0)

    def forward(self, ids: Tensor) -> Tensor:
        """``int64 [batch, length]`` → ``float [batch, length, width]``."""
        between = self.pair_row(ids[:, :-1], ids[:, 1:])
        left = nn.functional.pad(between, (1, 0))
        right = nn.functional.pad(between, (0, 1))
        return combine(self.weight, ids, left, right)


def combine(weight: Tensor, ids: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Vector of each piece from its own row and the rows of the pairs to its left and right (0 = none)."""
    has_left, has_right = (left > 0).unsqueeze(-1), (right > 0).unsqueeze(-1)
    total = weight[left] * has_left + weight[right] * has_right
    count = has_left.to(weight.dtype) + has_right.to(weight.dtype)
    return torch.where(count > 0, total / count.clamp(min=1), weight[ids])


class TableEncoder(nn.Module):
    """A BERT body on table embeddings: the bilingual encoder that ships."""

    def __init__(self, table: TextTable, config: BertConfig) -> None:
        super().__init__()
        config.vocab_size = 1  # its own word table is never read
        self.table = table
        self.config = config
        self.embedding = TableEmbedding(table, config.hidden_size)
        self.body = BertModel(config, add_pooling_layer=False)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """``int64 [batch, length]`` twice → hidden states ``float [batch, length, width]``."""
        out = self.body(inputs_embeds=self.embedding(input_ids), attention_mask=attention_mask)
        return out.last_hidden_state  # type: ignore[no-any-return]

    def save(self, folder: Path) -> None:
        """Write text table, body configuration, embedding rows in 8 bits and the body's weights in 16."""
        folder.mkdir(parents=True, exist_ok=True)
        self.table.save(folder / TABLE_FILE)
        self.config.save_pretrained(folder)
        rows, scale = quantise_rows(self.embedding.weight.detach())
        save_file({"rows": rows, "scale": scale}, folder / EMBEDDING_FILE)
        save_file({k: v.detach().half().contiguous() for k, v in self.body.state_dict().items()}, folder / BODY_FILE)

    @classmethod
    def load(cls, folder: Path) -> TableEncoder:
        """Read what :meth:`save` wrote."""
        encoder = cls(TextTable.load(folder / TABLE_FILE), BertConfig.from_pretrained(folder))
        embedding = load_file(folder / EMBEDDING_FILE)
        encoder.embedding.weight.data.copy_(embedding["rows"] * embedding["scale"])
        encoder.body.load_state_dict({k: v.float() for k, v in load_file(folder / BODY_FILE).items()})
        return encoder


def quantise_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """8-bit integers ``[rows, width]`` and one scale a row ``[rows, 1]``; ``rows * scale`` is the weight again.

    An encoder is stored so, and so it stands in the exported graph: embeddings not trained further lose nothing.
    """
    scale = weight.abs().amax(1, keepdim=True).clamp(min=1e-8) / 127
    return torch.round(weight / scale).to(torch.int8), scale


@dataclass(frozen=True)
class Backbone:
    """An encoder with the tokenising that belongs to it.

    ``module(input_ids, attention_mask)`` returns hidden states ``[batch, length, width]``; ``encode`` gives the ids of
    a text without start and end, which ``prefix`` and ``suffix`` add to each window of at most ``window`` ids.
    """

    module: nn.Module
    width: int
    encode: Callable[[str], Sequence[int]]
    prefix: tuple[int, ...]
    suffix: tuple[int, ...]
    pad: int
    unknown: int
    """Id of pieces outside the vocabulary, -1 if there is none."""
    window: int
    table: TextTable | None = None
    """The text table, where the backbone is a table encoder."""
    tokenizer_json: str | None = None
    """The backbone's own tokenizer, where it is not."""

    @classmethod
    def load(cls, name: str, window: int) -> Backbone:
        """The bilingual encoder from a folder, or any model that ``AutoModel`` knows, by Hub name or path."""
        if (Path(name) / TABLE_FILE).exists():
            return cls.of_table(TableEncoder.load(Path(name)), window)
        try:
            tokenizer = AutoTokenizer.from_pretrained(name)
            model = AutoModel.from_pretrained(name)
        except (OSError, ValueError) as error:
            raise BundleError(f"backbone {name!r} cannot be loaded: {str(error).splitlines()[0]}") from error
        if not tokenizer.is_fast:
            raise BundleError(f"backbone {name!r} has no fast tokenizer, so no tokenizer.json can ship with the model")
        prefix, suffix = _special_ids(tokenizer)
        special = len(prefix) + len(suffix)
        limit = getattr(model.config, "max_position_embeddings", 0) or window + special
        if getattr(model.config, "model_type", "") in ("roberta", "xlm-roberta", "camembert"):
            limit -= 2  # their positions start behind the padding index
        return cls(
            module=_HiddenStates(model),
            width=model.config.hidden_size,
            encode=lambda text: tokenizer(clean(text), add_special_tokens=False, verbose=False)["input_ids"],  # type: ignore[no-any-return]
            prefix=prefix,
            suffix=suffix,
            pad=tokenizer.pad_token_id or 0,
            unknown=-1 if tokenizer.unk_token_id is None else tokenizer.unk_token_id,
            window=min(window, limit - special),
            tokenizer_json=tokenizer.backend_tokenizer.to_str(),
        )

    @classmethod
    def of_table(cls, encoder: TableEncoder, window: int) -> Backbone:
        """A table encoder, whose text path is :mod:`duibiao.text`."""
        limit = encoder.config.max_position_embeddings - 2
        return cls(
            module=encoder,
            width=encoder.config.hidden_size,
            encode=encoder.table.encode,
            prefix=(START_ID,),
            suffix=(END_ID,),
            pad=PAD_ID,
            unknown=UNKNOWN_ID,
            window=min(window, limit),
            table=encoder.table,
        )

    def windows(self, ids: Sequence[int]) -> list[list[int]]:
        """Cut a text's ids into windows of nearly equal length, each with start and end."""
        return [[*self.prefix, *ids[a:b], *self.suffix] for a, b in window_bounds(len(ids), self.window)]


def _special_ids(tokenizer: PreTrainedTokenizerBase) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """What a tokenizer puts before and after a text."""
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    whole = tokenizer("a")["input_ids"]
    start = next(i for i in range(len(whole)) if whole[i : i + len(bare)] == bare)
    return tuple(whole[:start]), tuple(whole[start + len(bare) :])


class _HiddenStates(nn.Module):
    """Any transformers encoder, called like :class:`TableEncoder`."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Batch:
    """Windows of several documents, padded: ``ids`` and ``mask`` ``int64 [windows, length]``."""

    ids: Tensor
    mask: Tensor
    document: Tensor
    """``int64 [windows]``: which document each window belongs to."""
    documents: int

    @classmethod
    def collate(cls, backbone: Backbone, texts_ids: Sequence[Sequence[int]]) -> Batch:
        """Pad the windows of documents given as ids without start and end."""
        windows = [(window, i) for i, ids in enumerate(texts_ids) for window in backbone.windows(ids)]
        longest = max(len(window) for window, _ in windows)
        ids = torch.full((len(windows), longest), backbone.pad)
        mask = torch.zeros((len(windows), longest), dtype=torch.long)
        for row, (window, _) in enumerate(windows):
            ids[row, : len(window)] = torch.tensor(window)
            mask[row, : len(window)] = 1
        return cls(ids, mask, torch.tensor([i for _, i in windows]), len(texts_ids))

    def to(self, device: torch.device) -> Batch:
        """The batch on ``device``."""
        return Batch(self.ids.to(device), self.mask.to(device), self.document.to(device), self.documents)


class ProposalClassifier(nn.Module):
    """Encoder → mean over all positions of all windows of a document → one linear layer → logits."""

    def __init__(self, encoder: nn.Module, width: int, labels: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.encoder = encoder
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, labels)

    def embed(self, batch: Batch) -> Tensor:
        """Document vectors, ``float [documents, width]``."""
        weights = batch.mask.unsqueeze(-1).to(self.head.weight.dtype)
        sums = (self.encoder(batch.ids, batch.mask) * weights).sum(1)
        total = sums.new_zeros(batch.documents, sums.shape[1]).index_add(0, batch.document, sums)
        count = weights.new_zeros(batch.documents, 1).index_add(0, batch.document, weights.sum(1))
        mean: Tensor = total / count
        return mean

    def forward(self, batch: Batch) -> Tensor:
        """Logits, ``float [documents, labels]``."""
        logits: Tensor = self.head(self.dropout(self.embed(batch)))
        return logits
