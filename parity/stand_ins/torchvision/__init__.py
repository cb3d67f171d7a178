"""The names that timm and torchscale import from torchvision, of which there is no build for this PyTorch on CPUs.

None of them runs: the references build models and use Pillow for images.
"""

__version__ = "0.0"
