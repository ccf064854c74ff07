"""Networks of x-transformers."""

from torch import nn
from x_transformers import Decoder, Encoder, TransformerWrapper, ViTransformerWrapper

from validation.published.base import (
    CLASSES,
    TOKENS,
    VOCABULARY,
    Architecture,
    FloatTokens,
    tokens,
)


def for_text(layers: nn.Module) -> nn.Module:
    model = TransformerWrapper(
        num_tokens=VOCABULARY,
        max_seq_len=TOKENS,
        attn_layers=layers,
        average_pool_embed=True,
        logits_dim=CLASSES,
    )
    return FloatTokens(model)


ARCHITECTURES = {
    "text transformer (x-transformers)": Architecture(
        "transformer",
        lambda: for_text(Encoder(dim=12, depth=2, heads=2, attn_dim_head=6)),
        tokens,
    ),
    "causal transformer with rotary positions (x-transformers)": Architecture(
        "transformer",
        lambda: for_text(
            Decoder(
                dim=12,
                depth=2,
                heads=2,
                attn_dim_head=32,
                rotary_pos_emb=True,
                use_rmsnorm=True,
                ff_glu=True,
                ff_swish=True,
            )
        ),
        tokens,
    ),
    "transformer with ALiBi and sandwich norm (x-transformers)": Architecture(
        "transformer",
        lambda: for_text(
            Encoder(
                dim=12, depth=2, heads=2, attn_dim_head=6, alibi_pos_bias=True, sandwich_norm=True
            )
        ),
        tokens,
    ),
    "ViT (x-transformers)": Architecture(
        "transformer",
        lambda: ViTransformerWrapper(
            image_size=32,
            patch_size=8,
            num_classes=CLASSES,
            attn_layers=Encoder(dim=12, depth=2, heads=2, attn_dim_head=6),
        ),
    ),
}
