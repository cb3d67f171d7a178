"""What a SavedModel must pass before it is published."""

from mim_tf.export.gate.c_api import NoProgramError, measure
from mim_tf.export.gate.case import Case
from mim_tf.export.gate.gate import check_model
from mim_tf.export.gate.report import GateReport

__all__ = ["Case", "GateReport", "NoProgramError", "check_model", "measure"]
