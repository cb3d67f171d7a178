"""The section of users: histories, what of them counts for a candidate, and what the model made of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf

from mim_tf.interest.content_attention import content_attention
from mim_tf.pages.markup import Html, element, paragraph
from mim_tf.pages.section import Section
from mim_tf.report.cards import item_card, strip
from mim_tf.report.numbers import time_text
from mim_tf.report.predictions import Predictions
from mim_tf.report.shop_items import ItemId, ShopItem, ShopItems
from mim_tf.report.validation_sessions import ShownSession
from mim_tf.representation import EmbeddingStore
from mim_tf.settings import Settings
from mim_tf.training.represent import store_path

USERS = 6
_BEHAVIOURS = 24  # shown, the latest ones


def users_section(
    settings: Settings, workdir: Path, items: ShopItems, predictions: Predictions, sessions: list[ShownSession]
) -> Section:
    """Sample users: behaviours with their content weights, and candidates in the order of their probabilities."""
    if not sessions:
        return Section("users", "Some users", [paragraph("No user of the validation impressions has a history.")])
    store = EmbeddingStore(store_path(settings, workdir))
    met = [item for session in sessions for item in (*session.history[-_BEHAVIOURS:], *session.candidates)]
    known = items.find(met)
    users = [_user(session, predictions, content_weights(store, session), known) for session in sessions]
    return Section("users", "Some users", [*_introduction(settings, bool(predictions.base)), *users])


def content_weights(store: EmbeddingStore, session: ShownSession) -> np.ndarray:
    """Equation (7)'s weights: cosines of candidates and behaviours.

    Returns:
        `[candidates, behaviours]` float32; 0 where the store does not have an item.
    """
    ids, places = np.unique(np.concatenate([session.candidates, session.history]), return_inverse=True)
    contents = tf.constant(store.embeddings_of(ids)[places], tf.float32)
    candidates = len(session.candidates)
    return content_attention(contents[tf.newaxis, :candidates], contents[tf.newaxis, candidates:])[0].numpy()


def _introduction(settings: Settings, has_base: bool) -> list[Html]:
    words = (
        "Users drawn by a hash of the id, each with one session of the validation impressions. Above, what the user "
        f"chose before, the latest first, {_BEHAVIOURS} at most, with the weight that equation (7) gives it for one "
        "candidate: the cosine of both items' h_MM. Below, what the user was shown, the highest probability first, "
        "with a green frame if it was clicked. Point at a candidate, or tap it, for its weights."
    )
    notes = [paragraph(words)]
    rank = settings.rank
    if not rank.content and not rank.fusion:
        notes.append(paragraph("This model does not use them: rank.content and rank.fusion are off."))
    elif rank.embeddings == "end_to_end":
        notes.append(paragraph("This model trained its encoder further (rank.embeddings); weights are by the store's."))
    if not has_base:
        notes.append(paragraph("The run has no base (rank.base: false) whose probabilities could stand beside."))
    return notes


def _user(session: ShownSession, predictions: Predictions, weights: np.ndarray, known: dict[ItemId, ShopItem]) -> Html:
    shown = slice(session.first, session.first + len(session.candidates))
    probabilities = {name: seeds[0].probabilities[shown] for name, seeds in predictions._asdict().items() if seeds}
    best_first = np.argsort(-probabilities["model"], kind="stable")
    latest_first = np.arange(len(session.history))[::-1][:_BEHAVIOURS]
    weights = weights[best_first][:, latest_first]
    behaviours = [
        item_card(item_id, known.get(item_id), _weight(float(weight)))
        for item_id, weight in zip(session.history[latest_first], weights[0], strict=True)
    ]
    candidates = [
        _candidate(
            session,
            int(place),
            {name: of_variant[place] for name, of_variant in probabilities.items()},
            known,
            aria_pressed="false" if number else "true",
            data_weights=",".join(f"{weight:.2f}" for weight in weights[number]),
        )
        for number, place in enumerate(best_first)
    ]
    count = len(session.history)
    before = f"{count} behaviours before" if count <= _BEHAVIOURS else f"the latest {_BEHAVIOURS} of {count} behaviours"
    return element(
        "div",
        element("h3", f"User {session.user_id}, {time_text(session.timestamp)}"),
        element("h4", before),
        strip(*behaviours),
        element("h4", "shown"),
        strip(*candidates),
        class_="user",
    )


def _candidate(
    session: ShownSession,
    place: int,
    probabilities: dict[str, float],
    known: dict[ItemId, ShopItem],
    **attributes: str,
) -> Html:
    """A card that the page's script makes a button of: its attributes have the weights of all behaviours for it."""
    item_id, clicked = session.candidates[place], session.clicked[place]
    notes = [f"{name} {probability:.1%}" for name, probability in probabilities.items()]
    return item_card(
        item_id,
        known.get(item_id),
        *notes,
        *(["clicked"] if clicked else []),
        mark="right" if clicked else None,
        role="button",
        tabindex=0,
        **attributes,
    )


def _weight(weight: float) -> Html:
    """A number on a bar of its length; the page's script writes it anew for another candidate."""
    kind = "weight negative" if weight < 0 else "weight"
    return element("span", f"{weight:.2f}", class_=kind, style=f"--length: {abs(weight):.2f}")
