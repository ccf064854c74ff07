"""Networks of vit-pytorch."""

from vit_pytorch.cait import CaiT
from vit_pytorch.cct import CCT
from vit_pytorch.cvt import CvT
from vit_pytorch.deepvit import DeepViT
from vit_pytorch.levit import LeViT
from vit_pytorch.max_vit import MaxViT
from vit_pytorch.mobile_vit import MobileViT
from vit_pytorch.nest import NesT
from vit_pytorch.pit import PiT
from vit_pytorch.rvt import RvT
from vit_pytorch.simple_vit import SimpleViT
from vit_pytorch.t2t import T2TViT
from vit_pytorch.vit import ViT
from vit_pytorch.vit_for_small_dataset import ViT as SmallDataViT
from vit_pytorch.vit_with_patch_dropout import ViT as PatchDropoutViT

from validation.published.base import CLASSES, Architecture, large_images

SMALL = {
    "image_size": 32,
    "patch_size": 8,
    "num_classes": CLASSES,
    "dim": 12,
    "depth": 2,
    "heads": 2,
    "mlp_dim": 16,
    "dim_head": 6,
}

ARCHITECTURES = {
    "ViT (vit-pytorch)": Architecture("transformer", lambda: ViT(**SMALL)),
    "Simple ViT (vit-pytorch)": Architecture("transformer", lambda: SimpleViT(**SMALL)),
    "DeepViT (vit-pytorch)": Architecture("transformer", lambda: DeepViT(**SMALL)),
    "ViT for small data sets (vit-pytorch)": Architecture(
        "transformer", lambda: SmallDataViT(**SMALL)
    ),
    "CaiT (vit-pytorch)": Architecture("transformer", lambda: CaiT(**SMALL, cls_depth=1)),
    "RvT (vit-pytorch)": Architecture("transformer", lambda: RvT(**SMALL)),
    "PiT (vit-pytorch)": Architecture("transformer", lambda: PiT(**{**SMALL, "depth": (1, 1)})),
    "T2T-ViT (vit-pytorch)": Architecture(
        "transformer",
        lambda: T2TViT(
            image_size=32,
            num_classes=CLASSES,
            dim=12,
            depth=1,
            heads=2,
            mlp_dim=16,
            dim_head=6,
            t2t_layers=((3, 2), (3, 2)),
        ),
    ),
    "CCT (vit-pytorch)": Architecture(
        "transformer",
        lambda: CCT(
            img_size=32,
            embedding_dim=12,
            num_layers=2,
            num_heads=2,
            mlp_ratio=2.0,
            num_classes=CLASSES,
            attention_dropout=0.0,
            stochastic_depth_rate=0.0,
        ),
    ),
    "CvT (vit-pytorch)": Architecture(
        "transformer",
        lambda: CvT(
            num_classes=CLASSES,
            s1_emb_dim=8,
            s2_emb_dim=8,
            s2_heads=1,
            s2_depth=1,
            s3_emb_dim=16,
            s3_heads=2,
            s3_depth=1,
        ),
    ),
    "LeViT (vit-pytorch)": Architecture(
        "transformer",
        lambda: LeViT(
            image_size=64,
            num_classes=CLASSES,
            dim=(8, 8, 16),
            depth=1,
            heads=(1, 2, 2),
            mlp_mult=2,
            dim_key=4,
            dim_value=8,
        ),
        large_images,
    ),
    "MaxViT (vit-pytorch)": Architecture(
        "transformer",
        lambda: MaxViT(
            num_classes=CLASSES,
            dim=8,
            depth=(1, 1),
            dim_head=4,
            dim_conv_stem=8,
            window_size=2,
            dropout=0.0,
        ),
    ),
    "MobileViT (vit-pytorch)": Architecture(
        "transformer",
        lambda: MobileViT(
            (64, 64), [8, 12, 16], [4, 4, 8, 8, 8, 8, 12, 12, 16, 16, 24], CLASSES, depths=(1, 1, 1)
        ),
        large_images,
    ),
    "NesT (vit-pytorch)": Architecture(
        "transformer",
        lambda: NesT(
            image_size=32,
            patch_size=4,
            num_classes=CLASSES,
            dim=8,
            heads=2,
            num_hierarchies=2,
            block_repeats=(1, 1),
            dim_head=4,
        ),
    ),
    "ViT with patch dropout (vit-pytorch)": Architecture(
        "transformer", lambda: PatchDropoutViT(**SMALL)
    ),
}
