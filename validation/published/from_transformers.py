"""Networks of Hugging Face's transformers, built from configurations: nothing is downloaded."""

import torch
import transformers
from torch import Tensor, nn

from validation.published.base import (
    CLASSES,
    TOKENS,
    VOCABULARY,
    Architecture,
    FloatTokens,
    Logits,
    tokens,
)

# Without dropout of attention's weights, which PyTorch's attention draws by itself.
TEXT = {
    "vocab_size": VOCABULARY,
    "num_labels": CLASSES,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 16,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "pad_token_id": None,
}


def text(name: str, **options: object) -> nn.Module:
    config = getattr(transformers, f"{name}Config")(**options)
    return FloatTokens(Logits(getattr(transformers, f"{name}ForSequenceClassification")(config)))


class Masked(nn.Module):
    """Every token counts. Without a mask some models look whether the input has padding, which no
    pack can follow."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> Tensor:
        mask = torch.ones(tokens.shape, dtype=torch.int64)
        return self.model(tokens.long(), attention_mask=mask).logits


def masked_text(name: str, **options: object) -> nn.Module:
    config = getattr(transformers, f"{name}Config")(**options)
    return Masked(getattr(transformers, f"{name}ForSequenceClassification")(config))


def image(name: str, **options: object) -> nn.Module:
    config = getattr(transformers, f"{name}Config")(num_labels=CLASSES, **options)
    return Logits(getattr(transformers, f"{name}ForImageClassification")(config))


VISION = {
    "image_size": 32,
    "patch_size": 8,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
}

ARCHITECTURES = {
    "BERT (transformers)": Architecture("transformer", lambda: text("Bert", **TEXT), tokens),
    "RoBERTa (transformers)": Architecture(
        "transformer", lambda: text("Roberta", **{**TEXT, "pad_token_id": 0}), tokens
    ),
    "ALBERT (transformers)": Architecture(
        "transformer",
        lambda: text("Albert", **TEXT, embedding_size=8, classifier_dropout_prob=0.0),
        tokens,
    ),
    "ELECTRA (transformers)": Architecture(
        "transformer", lambda: text("Electra", **TEXT, embedding_size=8), tokens
    ),
    "DistilBERT (transformers)": Architecture(
        "transformer",
        lambda: text(
            "DistilBert",
            vocab_size=VOCABULARY,
            num_labels=CLASSES,
            dim=16,
            n_layers=2,
            n_heads=2,
            hidden_dim=24,
            max_position_embeddings=16,
            dropout=0.0,
            attention_dropout=0.0,
            seq_classif_dropout=0.0,
        ),
        tokens,
    ),
    "FNet (transformers)": Architecture(
        "mixer",
        lambda: text(
            "FNet",
            **{k: v for k, v in TEXT.items() if k not in ("num_attention_heads",)},
            type_vocab_size=2,
        ),
        tokens,
    ),
    "DeBERTa-v2 (transformers)": Architecture(
        "transformer", lambda: text("DebertaV2", **TEXT), tokens
    ),
    "GPT-2 (transformers)": Architecture(
        "transformer",
        lambda: masked_text(
            "GPT2",
            vocab_size=VOCABULARY,
            num_labels=CLASSES,
            n_embd=16,
            n_layer=2,
            n_head=2,
            n_positions=16,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=0,
            eos_token_id=0,
            pad_token_id=0,
            use_cache=False,
        ),
        tokens,
    ),
    "LLaMA (transformers)": Architecture(
        "transformer",
        lambda: text(
            "Llama",
            vocab_size=VOCABULARY,
            num_labels=CLASSES,
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            intermediate_size=24,
            max_position_embeddings=16,
            pad_token_id=0,
            use_cache=False,
        ),
        tokens,
    ),
    "ViT (transformers)": Architecture("transformer", lambda: image("ViT", **VISION)),
    "DINOv2 (transformers)": Architecture("transformer", lambda: image("Dinov2", **VISION)),
    "ResNet (transformers)": Architecture(
        "residual",
        lambda: image(
            "ResNet", embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"
        ),
    ),
    "PoolFormer (transformers)": Architecture(
        "mixer",
        lambda: image(
            "PoolFormer",
            depths=[1, 1, 1, 1],
            hidden_sizes=[8, 8, 16, 16],
            drop_path_rate=0.0,
            patch_sizes=[3, 3, 3, 3],
            strides=[2, 2, 2, 1],
            padding=[1, 1, 1, 1],
        ),
    ),
}
assert TOKENS <= 16
