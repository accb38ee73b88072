"""The project's own code: what [tool.drydock] names as `module:attribute`, imported from the checkout."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

from drydock.errors import SettingsError

if TYPE_CHECKING:
    from drydock.settings import Settings


def load(settings: Settings, key: str) -> Any:
    """The object that [tool.drydock] names under `key`.

    Raises:
        SettingsError: where it cannot be imported.
    """
    reference = getattr(settings.project, key)
    module, _, attribute = reference.partition(":")
    for folder in (settings.root, settings.root / "src"):
        if folder.is_dir() and str(folder) not in sys.path:
            sys.path.insert(0, str(folder))
    try:
        found: Any = importlib.import_module(module)
        for part in filter(None, attribute.split(".")):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise SettingsError(
            f"[tool.drydock] {key} names {reference!r}, which cannot be imported: {error}.",
            hint="It must be module:attribute, importable from the checkout or its src folder.",
        ) from error
    return found
