"""The configuration: one frozen, validated value, handed on explicitly."""

from hsmirror.settings.loading import load
from hsmirror.settings.schema import (
    ApiSettings,
    ArchiveSettings,
    ExperimentSettings,
    LimitSettings,
    MonitorSettings,
    Settings,
)

__all__ = [
    "ApiSettings",
    "ArchiveSettings",
    "ExperimentSettings",
    "LimitSettings",
    "MonitorSettings",
    "Settings",
    "load",
]
