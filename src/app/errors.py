"""The application's errors: one root, so that a caller can tell ours from a library's."""


class AppError(Exception):
    """The root of every error that this application raises by itself."""


class TenantError(AppError):
    """Work would have run for another tenant than it says, or for none where one is needed."""
