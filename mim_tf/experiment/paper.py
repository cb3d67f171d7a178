"""The figures that the paper prints, of its private log: what ours stand beside.

MIM: Multi-modal Content Interest Modeling Paradigm for User Behavior Modeling. Its Figures 5 and 6 have no numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

from mim_tf.experiment.sheet import Sheet

_TITLE = "The paper's figures"
_CATEGORIES = ("ALL", "Home Decoration", "Clothes", "Sports", "Toys", "FMCG", "Pets", "Cars")

# Table 3 prints +0.0060 for Plain FoM; its AUCs differ by 0.0006.
PRE_TRAINING = {
    "Base": ".7024",
    "Plain FoM": ".7030",
    "+DDA": ".7034",
    "+DDA+DMA": ".7040",
    "+DDA+DMA+C-SFT": ".7062",
}
SIGNALS = {
    "Base": ".7024",
    "v1, CE, category": ".7043",
    "v2, CE, click": ".7053",
    "v3, CE, purchase": ".7059",
    "v4, CL, click": ".7055",
    "v5, CL, purchase": ".7062",
}
ABLATIONS = {
    "MIM": ".7062",
    "w/o TFN": ".7058",
    "w/o ST-NSG": ".7056",
    "w/o multi-level InfoNCE": ".7052",
    "w/o C-SFT": ".7040",
    "w/o ID interest module": ".7057",
    "w/o content interest module": ".7052",
    "w/o fusion interest module": ".7054",
}


def _sheet(columns: Sequence[str], rows: dict[str, str]) -> Sheet:
    values = [(name, dict(zip(columns, cells.split(), strict=True))) for name, cells in rows.items()]
    return Sheet("paper", _TITLE, tuple(columns), values)


DATA = _sheet(
    _CATEGORIES,
    {
        "#Data": "1.83B 0.15B 0.91B 0.1B 51.6M 0.21B 24.81M 60.75M",
        "#Query": "56.34M 5.32M 15.07M 3.56M 2.32M 6.72M 0.73M 3.66M",
        "#Users": "0.12B 14.04M 55.77M 16.34M 7.04M 25.95M 2.63M 6.62M",
        "#Items": "16.16M 1.50M 3.74M 0.65M 0.42M 1.11M 0.22M 0.91M",
    },
)
UBMS = _sheet(
    ("ALL", "Toys", "FMCG", "Sports", "Cars", "Clothes", "Pets", "Home Decoration"),
    {
        "Avg Pooling, Base": ".6965 .6958 .7044 .7045 .6965 .6810 .6844 .6748",
        "Avg Pooling, Base+MIM": ".7030 .6989 .7168 .7148 .7065 .6828 .6911 .6796",
        "DIN, Base": ".7004 .6969 .7187 .6986 .6928 .6753 .7099 .6802",
        "DIN, Base+MIM": ".7047 .7006 .7225 .7027 .6963 .6812 .7126 .6864",
        "DIEN, Base": ".7010 .6975 .7190 .6989 .6934 .6761 .7102 .6809",
        "DIEN, Base+MIM": ".7055 .7013 .7233 .7033 .6970 .6822 .7131 .6872",
        "BST, Base": ".6995 .6965 .7177 .6973 .6924 .6740 .7093 .6796",
        "BST, Base+MIM": ".7049 .7000 .7229 .7026 .6964 .6807 .7129 .6861",
        "TWIN, Base": ".7028 .6992 .7214 .7013 .6951 .6776 .7126 .6825",
        "TWIN, Base+MIM": ".7051 .7010 .7229 .7032 .6968 .6813 .7134 .6867",
        "SIM, Base": ".7024 .7017 .7111 .7024 .6945 .6869 .7058 .6928",
        "SIM, Base+MIM": ".7062 .7067 .7153 .7065 .6993 .6893 .7112 .6951",
    },
)
EFFICIENCY = _sheet(
    ("GFLOPs train", "GFLOPs inference", "GPU memory train (GB)", "GPU memory inference (GB)"),
    {
        "Base": "0.114 0.31 1.1 0.68",
        "Base+MIM (w/o RC)": "240.24 240.11 10.15 9.85",
        "Base+MIM (E2E)": "720.38 240.11 30.15 9.85",
        "Base+MIM": "0.182 0.43 1.11 0.81",
    },
)
CATEGORIES = _sheet(
    ("AUC gains", "CTR gains", "RPM gains"),
    {
        "All": "+0.0038 +5% +1%",
        "Home Decoration": "+0.0047 +4.63% +3.04%",
        "Clothes": "+0.0037 +8.69% +4.44%",
        "Sports": "+0.0030 +3.48% +1.86%",
        "Toys": "+0.0024 +4.44% +1.89%",
        "FMCG": "+0.0028 +3.98% +2.74%",
        "Pets": "+0.0024 +3.02% +2.69%",
        "Cars": "+0.0028 +2.54% +0.02%",
    },
)
