"""BEiT-3: one transformer of images, of texts, or of both at once, loaded from its authors' checkpoints.

The authors publish pickles, which may run code when read, without a `config.json`. Where PyTorch is installed, these
lines make a folder of one, here of a base model made for 224 pixels; `beit3.spm`, the tokeniser, goes there as well:

```python
state = torch.load("beit3_base_itc_patch16_224.pth", map_location="cpu", weights_only=True)["model"]
tensors = {name: tensor.contiguous().clone() for name, tensor in state.items()}
safetensors.torch.save_file(tensors, "folder/model.safetensors")
config = {
    "model_type": "beit3",
    "embed_dim": 768,
    "layers": 12,
    "attention_heads": 12,
    "ffn_embed_dim": 3072,
    "patch_size": 16,
    "image_size": 224,
    "vocab_size": 64010,
    "max_text_positions": 1024,
}
pathlib.Path("folder/config.json").write_text(json.dumps(config))
```

Those that were fine-tuned hold their command's arguments too: read them `with torch.serialization.safe_globals([
argparse.Namespace])`. Those for classifying images and answering questions have no last norm and cannot be loaded.

Reference: Wang et al., Image as a Foreign Language: BEiT Pretraining for Vision and Vision-Language Tasks (arXiv
2208.10442). Its code: torchscale's `BEiT3` with the options of github.com/microsoft/unilm/tree/master/beit3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
from keras import ops

from mim_tf.encoders.beit3_layers import OFFSET, ImageTokens, MultiwayBlock, WordTokens
from mim_tf.encoders.checkpoints import Layout, Source, TensorFiles, read_json
from mim_tf.encoders.weights import checkpoint_arguments

VISION, TEXT = "vision", "text"
_BRANCHES = {VISION: "A", TEXT: "B"}  # as torchscale's MultiwayNetwork names them
