"""Relative improvement: what one AUC has over another, as a share of what that has over chance."""


def relative_improvement(auc: float, base_auc: float) -> float:
    """Return RelaImpr, the relative gain of an AUC over that of a base model.

    ```
    RelaImpr = (AUC - 0.5) / (AUC_base - 0.5) - 1
    ```

    An AUC of 0.5 is chance, so what lies above it is what a model has achieved.

    Args:
        auc: the model's AUC or grouped AUC, in [0, 1].
        base_auc: the base model's on the same impressions, above 0.5 and up to 1.

    Returns:
        A share: 0.02 is what papers give as 2%. -1 for a model at chance.

    Raises:
        ValueError: if an AUC is NaN or outside [0, 1], or the base is no better than chance, where the gain has no
            meaning.

    Example:
        >>> round(relative_improvement(0.7, 0.66), 6)
        0.25

    Reference:
        Yan et al., Coupled Group Lasso for Web-Scale CTR Prediction in Display Advertising, ICML 2014; Zhou et al.,
        Deep Interest Network for Click-Through Rate Prediction, "Metrics" in section 6, arXiv:1706.06978.
    """
    if not 0 <= auc <= 1:
        raise ValueError(f"`auc` must be in [0, 1]. Received: {auc}.")
    if not 0.5 < base_auc <= 1:
        raise ValueError(
            f"`base_auc` must be above 0.5 and at most 1: over chance there is no relative improvement, compare the "
            f"AUCs themselves. Received: {base_auc}."
        )
    return float((auc - 0.5) / (base_auc - 0.5) - 1)
