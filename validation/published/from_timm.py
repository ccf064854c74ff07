"""Networks of timm."""

from functools import partial

from timm.layers import GroupNorm, GroupNormAct
from timm.models import (
    beit,
    cait,
    convmixer,
    convnext,
    densenet,
    efficientnet,
    eva,
    focalnet,
    ghostnet,
    inception_next,
    mambaout,
    metaformer,
    mlp_mixer,
    nfnet,
    regnet,
    res2net,
    resnet,
    resnetv2,
    sequencer,
    starnet,
    swin_transformer,
    swin_transformer_v2,
    vgg,
    xcit,
)
from timm.models import vision_transformer as vit
from timm.models._efficientnet_builder import decode_arch_def
from torch import nn

from validation.published.base import CLASSES, Architecture


def efficient_net(activation: type[nn.Module]) -> nn.Module:
    """Stem, a depthwise-separable block, inverted residuals with squeeze-excite."""
    blocks = decode_arch_def([["ds_r1_k3_s1_e1_c8_se0.25"], ["ir_r2_k3_s2_e2_c8_se0.25"]])
    return efficientnet.EfficientNet(
        blocks, CLASSES, num_features=16, stem_size=8, act_layer=activation
    )


def residual_net(block: type[nn.Module], **options: object) -> nn.Module:
    return resnet.ResNet(
        block, (1,) * 4, CLASSES, channels=(8, 8, 16, 16), zero_init_last=False, **options
    )


def group_norm_act(channels: int, **options: object) -> nn.Module:
    return GroupNormAct(channels, num_groups=4, **options)


ARCHITECTURES = {
    "VGG (timm)": Architecture(
        "convolutional", lambda: vgg.VGG([8, "M", 16, "M", 16, "M"], CLASSES, mlp_ratio=0.005)
    ),
    "DenseNet (timm)": Architecture(
        "convolutional", lambda: densenet.DenseNet(4, (2, 2), CLASSES, stem_type="", bn_size=2)
    ),
    "ResNet (timm)": Architecture("residual", lambda: residual_net(resnet.BasicBlock)),
    "SE-ResNeXt (timm)": Architecture(
        "residual",
        lambda: residual_net(
            resnet.Bottleneck, cardinality=2, base_width=32, block_args={"attn_layer": "se"}
        ),
    ),
    "ResNet with group norm (timm)": Architecture(
        "residual",
        lambda: residual_net(resnet.BasicBlock, norm_layer=partial(GroupNorm, num_groups=4)),
    ),
    "ResNetV2 with weight standardization (timm)": Architecture(
        "residual",
        lambda: resnetv2.ResNetV2([1, 1], (16, 32), CLASSES, stem_chs=8, norm_layer=group_norm_act),
    ),
    "Res2Net (timm)": Architecture(
        "residual",
        lambda: resnet.ResNet(
            res2net.Bottle2neck,
            (1, 1, 1, 1),
            CLASSES,
            channels=(8, 8, 8, 8),
            base_width=16,
            block_args={"scale": 2},
        ),
    ),
    "RegNet (timm)": Architecture(
        "residual",
        lambda: regnet.RegNet(
            regnet.RegNetCfg(
                depth=6, w0=8, wa=8.0, wm=2.0, group_size=8, se_ratio=0.25, stem_width=8
            ),
            num_classes=CLASSES,
        ),
    ),
    "NFNet (timm)": Architecture(
        "residual",
        lambda: nfnet.NormFreeNet(
            nfnet.NfCfg((1, 1, 1, 1), (16, 16, 16, 16), stem_chs=8, group_size=4), CLASSES
        ),
    ),
    "EfficientNet (timm)": Architecture("residual", lambda: efficient_net(nn.SiLU)),
    "GhostNet (timm)": Architecture(
        "residual",
        lambda: ghostnet.GhostNet(
            [[[3, 16, 8, 0, 1]], [[3, 24, 12, 0.25, 2], [3, 24, 12, 0, 1]]],
            CLASSES,
            width=0.5,
            drop_rate=0.0,
        ),
    ),
    "ConvNeXt (timm)": Architecture(
        "residual",
        lambda: convnext.ConvNeXt(
            3, CLASSES, depths=(1, 1, 1, 1), dims=(8, 8, 16, 16), kernel_sizes=3
        ),
    ),
    "InceptionNeXt (timm)": Architecture(
        "residual",
        lambda: inception_next.MetaNeXt(
            3, CLASSES, depths=(1, 1, 1, 1), dims=(16, 16, 16, 16), ls_init_value=0.1
        ),
    ),
    "FocalNet (timm)": Architecture(
        "residual",
        lambda: focalnet.FocalNet(3, CLASSES, embed_dim=8, depths=(1, 1, 1, 1), drop_path_rate=0.0),
    ),
    "StarNet (timm)": Architecture(
        "residual", lambda: starnet.StarNet(8, [1, 1, 1, 1], num_classes=CLASSES)
    ),
    "MambaOut (timm)": Architecture(
        "residual",
        lambda: mambaout.MambaOut(3, CLASSES, depths=(1, 1, 1, 1), dims=(8, 8, 16, 16)),
    ),
    "MLP-Mixer (timm)": Architecture(
        "mixer",
        lambda: mlp_mixer.MlpMixer(CLASSES, 32, patch_size=8, num_blocks=2, embed_dim=16),
    ),
    "ResMLP (timm)": Architecture(
        "mixer",
        lambda: mlp_mixer.MlpMixer(
            CLASSES,
            32,
            patch_size=8,
            num_blocks=2,
            embed_dim=16,
            mlp_ratio=2,
            block_layer=mlp_mixer.ResBlock,
            norm_layer=mlp_mixer.Affine,
        ),
    ),
    "gMLP (timm)": Architecture(
        "mixer",
        lambda: mlp_mixer.MlpMixer(
            CLASSES,
            32,
            patch_size=8,
            num_blocks=2,
            embed_dim=16,
            mlp_ratio=2,
            block_layer=mlp_mixer.SpatialGatingBlock,
            mlp_layer=mlp_mixer.GatedMlp,
        ),
    ),
    "ConvMixer (timm)": Architecture(
        "mixer",
        lambda: convmixer.ConvMixer(8, 2, kernel_size=3, patch_size=4, num_classes=CLASSES),
    ),
    "PoolFormer (timm)": Architecture(
        "mixer",
        lambda: metaformer.MetaFormer(
            3,
            CLASSES,
            depths=(1, 1, 1, 1),
            dims=(8, 8, 16, 16),
            mlp_act=nn.GELU,
            mlp_bias=True,
            norm_layers=metaformer.GroupNorm1,
            layer_scale_init_values=0.1,
            res_scale_init_values=None,
            use_mlp_head=False,
        ),
    ),
    "CAFormer (timm)": Architecture(
        "transformer",
        lambda: metaformer.MetaFormer(
            3,
            CLASSES,
            depths=(1, 1, 1, 1),
            dims=(8, 8, 32, 32),
            token_mixers=[
                metaformer.SepConv,
                metaformer.SepConv,
                metaformer.Attention,
                metaformer.Attention,
            ],
            norm_layers=[metaformer.LayerNorm2dNoBias] * 2 + [metaformer.LayerNormNoBias] * 2,
        ),
    ),
    "ViT (timm)": Architecture(
        "transformer",
        lambda: vit.VisionTransformer(
            32, 8, num_classes=CLASSES, embed_dim=16, depth=2, num_heads=2
        ),
    ),
    "CaiT (timm)": Architecture(
        "transformer",
        lambda: cait.Cait(32, 8, num_classes=CLASSES, embed_dim=16, depth=2, num_heads=2),
    ),
    "XCiT (timm)": Architecture(
        "transformer",
        lambda: xcit.Xcit(32, 8, num_classes=CLASSES, embed_dim=16, depth=2, num_heads=2),
    ),
    "BEiT (timm)": Architecture(
        "transformer",
        lambda: beit.Beit(
            32,
            8,
            num_classes=CLASSES,
            embed_dim=16,
            depth=2,
            num_heads=2,
            init_values=0.1,
            use_rel_pos_bias=True,
            head_init_scale=1.0,
        ),
    ),
    "EVA-02 (timm)": Architecture(
        "transformer",
        lambda: eva.Eva(
            32,
            8,
            num_classes=CLASSES,
            embed_dim=16,
            depth=2,
            num_heads=2,
            swiglu_mlp=True,
            use_rot_pos_emb=True,
        ),
    ),
    "Swin (timm)": Architecture(
        "transformer",
        lambda: swin_transformer.SwinTransformer(
            32,
            4,
            num_classes=CLASSES,
            embed_dim=8,
            depths=(2, 1),
            num_heads=(2, 2),
            window_size=4,
            drop_path_rate=0.0,
        ),
    ),
    "Swin V2 (timm)": Architecture(
        "transformer",
        lambda: swin_transformer_v2.SwinTransformerV2(
            32,
            4,
            num_classes=CLASSES,
            embed_dim=8,
            depths=(2, 1),
            num_heads=(2, 2),
            window_size=4,
            drop_path_rate=0.0,
        ),
    ),
    "Swin with stochastic depth (timm)": Architecture(
        "transformer",
        lambda: swin_transformer.SwinTransformer(
            32,
            4,
            num_classes=CLASSES,
            embed_dim=8,
            depths=(2, 1),
            num_heads=(2, 2),
            window_size=4,
            drop_path_rate=0.1,
        ),
    ),
    "Sequencer (timm)": Architecture(
        "recurrent",
        lambda: sequencer.Sequencer2d(
            CLASSES,
            32,
            layers=(1, 1, 1, 1),
            patch_sizes=(4, 2, 1, 1),
            embed_dims=(8, 8, 8, 8),
            hidden_sizes=(4, 4, 4, 4),
        ),
    ),
}
