"""Small pictures, each of another colour, and events of them."""

import base64
import io
import json
from typing import Any

from PIL import Image


def picture(number: int) -> bytes:
    """A PNG of one colour."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (number % 256, number // 256 % 256, 7)).save(file, "PNG")
    return file.getvalue()


def event(item_id: int | str, number: int, **fields: Any) -> bytes:
    """A line of JSON: an item whose title and picture are of a number."""
    image = base64.b64encode(picture(number)).decode()
    return json.dumps({"item_id": item_id, "title": f"item {number}", "image": image, **fields}).encode() + b"\n"
