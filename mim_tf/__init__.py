"""MIM: multi-modal content interest modeling, from pixels and purchases to a click probability.

Importing this package imports no TensorFlow and changes nothing in the host program.
"""

__version__ = "0.1.0"
