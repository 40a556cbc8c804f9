"""What the lab's participants see and say. Constants alone; the makers of rows choose among them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

STATES = ("introduction_state", "practice_state", "video_state", "discussion_state", "debrief_state")

PLAIN_MESSAGES = (
    "Hello, everyone!",
    "Can you hear me?",
    "I think the second clip was sadder than the first.",
    "yes",
    "Same here.",
    "Shall we agree on 7?",
    "sorry, my connection dropped for a moment",
)

ODD_MESSAGES = (
    "first line\nsecond line\r\nthird line",
    "a line separator\u2028and a paragraph separator\u2029 that some readers split lines at",
    "😂👍🏽 so sad 😭 family: 👩\u200d👩\u200d👧\u200d👦",
    'she said "no", then \'maybe\' \\ and left; "quotes", commas, semicolons',
    "<script>alert('hi')</script> <b>bold</b> &amp; <a href=\"https://example.com/?a=1&b=2\">link</a>",
    "日本語、العربية, עברית, Ελληνικά, e\u0301 (decomposed), \u00e9 (composed)",
    "tab\there, a null byte\u0000, a bell\u0007, an escape\u001b[31mred\u001b[0m",
    "",
    "=SUM(A1:A9)",
    "I kept thinking of the scene at the station. " * 80,
    " leading and trailing spaces ",
)

QUESTIONS = (
    ("mood_assessment", "How do you feel right now?", "Very sad", "Very happy"),
    ("engagement_vas", "How engaging is this video?", "Not at all", "Extremely"),
    ("closeness_likert", "How close do you feel to your partner?", "Distant", "Close"),
)


@dataclass(frozen=True, slots=True)
class EventKind:
    """One kind of event that a room's log is made of. What an event has none of, its row leaves out."""

    event_type: str
    category: str
    content: str
    component_type: str | None = None
    component_id: str | None = None
    has_response: bool = False
    has_duration: bool = False


PRE_EXPERIMENT_EVENTS = (
    EventKind("consent.accepted", "pre_experiment", "agreed"),
    EventKind("instructions.page_view", "pre_experiment", "page_1"),
    EventKind("instructions.comprehension_check", "pre_experiment", "correct"),
)

EVENTS = (
    EventKind("state.enter", "state", "Entered state"),
    EventKind(
        "component.complete",
        "component",
        "Video: introduction.mp4",
        "ShowVideo",
        "video_intro",
        has_response=True,
        has_duration=True,
    ),
    EventKind("media.play", "media", "Playing: clip_01.mp4", "ShowVideo", "video_clip_01"),
    EventKind("media.pause", "media", "Paused: clip_01.mp4", "ShowVideo", "video_clip_01", has_duration=True),
    EventKind("communication.message", "communication", "Sent a message", "TextChat", "chat_main"),
    EventKind("sync.adjust", "sync", "Playback rate adjusted", "ShowVideo", "video_clip_01"),
    EventKind(
        "questionnaire.answer",
        "questionnaire",
        "How do you feel right now?",
        "VasRating",
        "mood_assessment",
        has_response=True,
        has_duration=True,
    ),
    EventKind(
        "component.complete", "component", "Text: wie geht's? 😀", "TextInput", "free_text", has_response=True
    ),
    EventKind("state.exit", "state", "Left state", has_duration=True),
)

COMPONENTS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    (
        "video_intro",
        "ShowVideo",
        {"videoUrl": "https://example.com/intro.mp4", "autoplay": True, "controls": False},
    ),
    ("mood_assessment", "VasRating", {"min": 1, "max": 10, "labels": ["Very sad", "Very happy"], "step": None}),
    ("chat_main", "TextChat", {"maxLength": 500, "nested": {"deep": [{"er": []}, {}]}}),
    ("free_text", "TextInput", {"prompt": "Was haben Sie gefühlt?\n(Zwei Sätze)", "required": True}),
)
